"""Variable-length flash attention (torch.nn.attention.varlen, CUDA): one kernel call, nothing padded.

Every prompt, and every [prompt; continuation], is one sequence of the kernel. The queries of a continuation are its
tokens; its keys are those of the prompt and its tokens. The kernel aligns its causal mask to the ends, so the whole
prompt is visible.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grao_pipeline.plugins import require
from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.attention.base import SharedPrefixAttention, UnsupportedAttention


@dataclass(frozen=True)
class VarlenLayout:
    """The sequences of one kernel call."""

    keys: Tensor
    """Packed positions of all keys. [T_k]"""
    query_ends: Tensor
    """Cumulative numbers of queries, int32. [B + 1]"""
    key_ends: Tensor
    """Cumulative numbers of keys, int32. [B + 1]"""
    longest_query: int
    longest_key: int


class VarlenAttention(SharedPrefixAttention[VarlenLayout]):
    """One call of torch's variable-length flash attention for all prompts and continuations; CUDA, half precision."""

    def prepare(self, batch: PackedBatch) -> VarlenLayout:
        device = batch.input_ids.device
        keys: list[Tensor] = []
        query_lengths: list[int] = []
        for layout in batch.layouts:
            prompt = torch.arange(layout.prompt.start, layout.prompt.stop)
            keys.append(prompt)
            query_lengths.append(layout.prompt_length)
            start = layout.continuations.start
            for length in layout.lengths:
                keys.append(torch.cat([prompt, torch.arange(start, start + length)]))
                query_lengths.append(length)
                start += length
        key_lengths = [len(positions) for positions in keys]
        return VarlenLayout(
            keys=torch.cat(keys).to(device),
            query_ends=_ends(query_lengths, device),
            key_ends=_ends(key_lengths, device),
            longest_query=max(query_lengths),
            longest_key=max(key_lengths),
        )

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: VarlenLayout,
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        if softcap is not None:
            raise UnsupportedAttention("the flash kernel has no soft-cap; --attention flex has")
        device = query.device.type
        if torch.is_autocast_enabled(device):  # rotary embeddings promote to float32
            query, key, value = (tensor.to(torch.get_autocast_dtype(device)) for tensor in (query, key, value))
        varlen: Any = require("torch.nn.attention.varlen")
        out: Tensor = varlen.varlen_attn(
            query.contiguous(),
            key.index_select(0, layout.keys),
            value.index_select(0, layout.keys),
            layout.query_ends,
            layout.key_ends,
            layout.longest_query,
            layout.longest_key,
            scale=scale,
            window_size=(-1 if window is None else window - 1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out


def _ends(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32).to(device)
