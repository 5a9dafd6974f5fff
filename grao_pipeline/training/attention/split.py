"""Split attention: the prompt once, causally; then its continuations, batched, over [prompt; themselves].

torch's scaled_dot_product_attention does both, on any device. No T × T mask exists; no continuation pays for another.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from grao_pipeline.training.packing import PackedBatch, PromptLayout

# Continuations are padded within a bucket only; more buckets waste less and call more kernels.
MAX_PADDING = 0.25


@dataclass(frozen=True)
class _Bucket:
    """Continuations of one prompt that are attended together, padded to the longest of them.

    Shapes: `gather` [n, L], packed positions, a continuation's last one repeated behind its end; `kept` [tokens],
    positions of the real tokens in [n · L].
    """

    gather: Tensor
    kept: Tensor
    tokens: Tensor
    """Packed positions of the real tokens, in the order of `kept`."""


@dataclass(frozen=True)
class SplitLayout:
    """The prompts with their continuations; `order` [T] puts what is attended piece by piece back into the row's order,
    None where it is in order.
    """

    prompts: tuple[tuple[slice, tuple[_Bucket, ...]], ...]
    order: Tensor | None


class SplitAttention:
    """See the module."""

    def prepare(self, batch: PackedBatch) -> SplitLayout:
        device = batch.input_ids.device
        prompts = tuple((layout.prompt, _buckets(layout, device)) for layout in batch.layouts)
        places = []
        for prompt, buckets in prompts:
            places += [torch.arange(prompt.start, prompt.stop), *(bucket.tokens.cpu() for bucket in buckets)]
        order = torch.cat(places).argsort()
        in_order = torch.equal(order, torch.arange(len(order)))
        return SplitLayout(prompts, None if in_order else order.to(device))

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: SplitLayout,
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        q, k, v = (tensor.transpose(0, 1) for tensor in (query, key, value))  # [H, T, D]
        pieces: list[Tensor] = []
        for prompt, buckets in layout.prompts:
            length = prompt.stop - prompt.start
            prompt_k, prompt_v = k[:, prompt], v[:, prompt]
            plain = softcap is None and (window is None or window >= length)
            mask = None if plain else _mask(length, 0, window, q.device)
            own = _attention(q[None, :, prompt], prompt_k[None], prompt_v[None], mask, scale, softcap)
            pieces.append(own[0])
            pieces += [
                _continuations(q, k, v, prompt_k, prompt_v, bucket, scale, window, softcap) for bucket in buckets
            ]
        out = torch.cat(pieces, dim=1)
        return (out if layout.order is None else out.index_select(1, layout.order)).transpose(0, 1)


def _continuations(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prompt_k: Tensor,
    prompt_v: Tensor,
    bucket: _Bucket,
    scale: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """A padded key lies behind every real token of its continuation, so the causal mask hides it. [H, tokens, D]"""
    num, length = bucket.gather.shape
    flat = bucket.gather.flatten()

    def rows(tensor: Tensor) -> Tensor:  # [H, T, D] → [n, H, L, D]
        return tensor.index_select(1, flat).view(len(tensor), num, length, -1).transpose(0, 1)

    keys = torch.cat([prompt_k.expand(num, -1, -1, -1), rows(k)], dim=2)
    values = torch.cat([prompt_v.expand(num, -1, -1, -1), rows(v)], dim=2)
    mask = _mask(length, prompt_k.shape[1], window, q.device)
    out = _attention(rows(q), keys, values, mask, scale, softcap)  # [n, H, L, D]
    return out.transpose(0, 1).flatten(1, 2).index_select(1, bucket.kept)


def _attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None, softcap: float | None
) -> Tensor:
    """Args: q: [n, H, L, D]; k, v: [n, K, M, D]; mask: [L, M], causal where None."""
    if softcap is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
    assert mask is not None
    repeats = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(repeats, dim=1).transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, dim=-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(q.dtype) @ (
        v.repeat_interleave(repeats, dim=1)
    )


def _mask(length: int, before: int, window: int | None, device: torch.device) -> Tensor:
    """True where token i, behind `before` others, may look. [length, before + length]"""
    mask = torch.ones(length, before + length, dtype=torch.bool, device=device).tril(diagonal=before)
    return mask if window is None else mask.triu(diagonal=before - window + 1)


def _buckets(layout: PromptLayout, device: torch.device) -> tuple[_Bucket, ...]:
    """The continuations by length, the longest first; of equal lengths, in their order."""
    ends = list(accumulate(layout.lengths, initial=layout.continuations.start))
    places = sorted(zip(layout.lengths, ends[:-1], strict=True), key=lambda place: -place[0])
    buckets: list[list[tuple[int, int]]] = []
    for length, start in places:
        if not buckets or length < (1 - MAX_PADDING) * buckets[-1][0][0]:
            buckets.append([])
        buckets[-1].append((length, start))
    return tuple(_bucket(bucket, device) for bucket in buckets)


def _bucket(places: list[tuple[int, int]], device: torch.device) -> _Bucket:
    longest = places[0][0]
    columns = torch.arange(longest)
    lengths = torch.tensor([length for length, _ in places])
    starts = torch.tensor([start for _, start in places])
    gather = starts[:, None] + torch.minimum(columns, lengths[:, None] - 1)
    real = columns < lengths[:, None]
    return _Bucket(gather.to(device), real.flatten().nonzero()[:, 0].to(device), gather[real].to(device))
