"""Flex attention: one kernel over the packed row, with a block mask that knows prompts and continuations."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grao_pipeline.plugins import require
from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.attention.base import SharedPrefixAttention

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class FlexLayout:
    """Shapes [T]: the number of each token's prompt, of its continuation (−1 in a prompt), and its position."""

    prompt: Tensor
    continuation: Tensor
    position: Tensor
    masks: dict[int | None, Any]
    """Block masks by window, created when a layer first needs one."""


class FlexAttention(SharedPrefixAttention[FlexLayout]):
    """One flex-attention kernel with a block mask over prompts and continuations; compiled on CUDA only."""

    def prepare(self, batch: PackedBatch) -> FlexLayout:
        prompts: list[int] = []
        continuations: list[int] = []
        number = 0
        for index, layout in enumerate(batch.layouts):
            prompts += [index] * (layout.prompt_length + sum(layout.lengths))
            continuations += [-1] * layout.prompt_length
            for length in layout.lengths:
                continuations += [number] * length
                number += 1
        device = batch.input_ids.device
        return FlexLayout(
            torch.tensor(prompts, device=device),
            torch.tensor(continuations, device=device),
            batch.position_ids[0],
            {},
        )

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: FlexLayout,
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        q, k, v = (tensor.transpose(0, 1)[None].contiguous() for tensor in (query, key, value))  # [1, H, T, D]
        if window not in layout.masks:
            layout.masks[window] = _block_mask(layout, window)
        attention = _compiled_flex_attention() if q.is_cuda else _flex().flex_attention
        out: Tensor = attention(
            q,
            k,
            v,
            score_mod=None if softcap is None else _capped(softcap),
            block_mask=layout.masks[window],
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return out[0].transpose(0, 1)


def _block_mask(layout: FlexLayout, window: int | None) -> "BlockMask":
    prompt, continuation, position = layout.prompt, layout.continuation, layout.position

    def may_attend(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (continuation[key] == continuation[query]) | (continuation[key] == -1)
        near = position[query] >= position[key]
        if window is not None:
            near = near & (position[query] - position[key] < window)
        return (prompt[key] == prompt[query]) & seen & near

    length = len(prompt)
    mask: BlockMask = _flex().create_block_mask(may_attend, None, None, length, length, device=str(prompt.device))
    return mask


@cache
def _capped(softcap: float) -> Callable[..., Tensor]:
    def modify(score: Tensor, *_: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return modify


def _flex() -> ModuleType:
    return require("torch.nn.attention.flex_attention")


@cache
def _compiled_flex_attention() -> Callable[..., Tensor]:
    return torch.compile(_flex().flex_attention, dynamic=True)
