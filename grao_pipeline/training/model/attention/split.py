"""Split attention: the prompt once, causally; then every continuation over [prompt; itself].

A block of queries at a time, few enough for its scores to stay in cache. Nothing is padded, no mask of T × T exists, no
continuation pays for another. The backward pass makes the scores again where they are many. Works on any device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.attention.base import SharedPrefixAttention

BLOCK_SCORES = 1 << 20
"""Scores of one block, in elements: 4 MiB in float32, so that a block stays in cache from product to product."""
KEPT_SCORES = 20
"""A layer's attention weights are kept for the backward pass where they are at most so many times its queries."""


@dataclass(frozen=True)
class Segment:
    """Tokens of the packed row that attend causally to themselves, behind a prompt that they see whole.

    Example: a continuation of 2 tokens behind a prompt of 3, at the row's start: `Segment(slice(0, 3), slice(3, 5))`.
    A prompt itself has nothing before it: `Segment(slice(0, 0), slice(0, 3))`.
    """

    before: slice
    own: slice

    @property
    def num_before(self) -> int:
        return int(self.before.stop - self.before.start)

    @property
    def num_own(self) -> int:
        return int(self.own.stop - self.own.start)

    def take(self, rows: Tensor) -> Tensor:
        """What the segment sees of keys or values. [T, K, D] → [K, before + own, D]"""
        return torch.cat([rows[self.before], rows[self.own]]).transpose(0, 1).contiguous()

    def add(self, total: Tensor, part: Tensor, keys: slice) -> None:
        """The inverse of `take` for gradients of some of the keys: part [K, M, D] onto total [K, T, D]."""
        before = max(0, self.num_before - keys.start)
        total[:, self.before][:, keys.start :] += part[:, :before]
        own = slice(max(0, keys.start - self.num_before), keys.stop - self.num_before)
        total[:, self.own][:, own] += part[:, before:]


@dataclass(frozen=True)
class Block:
    """Some queries of a segment, in some of the heads, with the keys that any of them sees.

    Attributes:
        heads: of keys and values.
        tokens: of the packed row.
        keys: of the segment's, by their position in [before; own].
    """

    heads: slice
    tokens: slice
    keys: slice

    @property
    def num_tokens(self) -> int:
        return int(self.tokens.stop - self.tokens.start)

    def take(self, rows: Tensor, num_key_heads: int) -> Tensor:
        """The block's rows, by the head of keys that they meet. [T, K · R, D] → [k, n · R, D], R heads side by side"""
        return self._view(rows, num_key_heads).transpose(0, 1).flatten(1, 2)

    def put(self, rows: Tensor, block: Tensor, num_key_heads: int) -> None:
        """The inverse of `take`: write [k, n · R, D] into [T, K · R, D]."""
        self._view(rows, num_key_heads).copy_(
            block.view(len(block), self.num_tokens, -1, block.shape[-1]).transpose(0, 1)
        )

    def _view(self, rows: Tensor, num_key_heads: int) -> Tensor:
        """[n, k, R, D]"""
        return rows[self.tokens].view(self.num_tokens, num_key_heads, -1, rows.shape[-1])[:, self.heads]


@dataclass(frozen=True)
class Scoring:
    """From products of queries and keys to scores: what a layer asks for.

    Attributes:
        window: a token sees so many tokens, itself included; all where None.
        softcap: scores become softcap · tanh(scores / softcap); None for none.
    """

    scale: float
    window: int | None
    softcap: float | None

    def scores(self, query: Tensor, key: Tensor, num_queries: int) -> tuple[Tensor, Tensor | None]:
        """The scores of a block whose last query sees its last key, and their slope by what is capped.

        Args:
            query: [k, n · R, D], a token's R heads side by side; key: [k, M, D].
            num_queries: n.
        """
        scores = torch.bmm(_precise(query) * self.scale, key.transpose(1, 2))  # [k, n · R, M]
        slope = None
        if self.softcap is not None:
            scores.div_(self.softcap).tanh_()
            slope = 1 - scores**2
            scores.mul_(self.softcap)
        n, num_keys = num_queries, key.shape[1]
        by_token = scores.view(len(scores), n, -1, num_keys)
        late = scores.new_full((n, n), -torch.inf).triu_(diagonal=1)
        by_token[..., num_keys - n :].add_(late[:, None])
        if self.window is not None and num_keys > self.window:
            early = torch.ones(n, num_keys, dtype=torch.bool, device=scores.device)
            by_token.masked_fill_(early.tril(diagonal=num_keys - n - self.window)[:, None], -torch.inf)
        return scores, slope


class SplitAttention(SharedPrefixAttention[tuple[Segment, ...]]):
    """See the module."""

    def prepare(self, batch: PackedBatch) -> tuple[Segment, ...]:
        segments = []
        for layout in batch.layouts:
            segments.append(Segment(slice(layout.start, layout.start), layout.prompt))
            start = layout.continuations.start
            for length in layout.lengths:
                segments.append(Segment(layout.prompt, slice(start, start + length)))
                start += length
        return tuple(segments)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: tuple[Segment, ...],
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        scoring = Scoring(scale or query.shape[-1] ** -0.5, window, softcap)
        # Under autocast the rotation of queries and keys leaves them in float32; values have the precision of products.
        query, key = query.to(value.dtype), key.to(value.dtype)
        out: Tensor = _SplitAttention.apply(query, key, value, layout, scoring)  # type: ignore[no-untyped-call]
        return out


class _SplitAttention(torch.autograd.Function):
    """Forward and softmax in float32 at least; the products with gradients in the precision of the inputs."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scoring: Scoring
    ) -> Tensor:
        num_key_heads = key.shape[1]
        repeats = query.shape[1] // num_key_heads
        result = query.new_empty(*query.shape[:2], value.shape[-1])
        num_scores = sum(_num_scores(segment, query.shape[1], scoring.window) for segment in segments)
        keeps = scoring.softcap is None and num_scores <= KEPT_SCORES * query.numel()
        kept = []
        with torch.autocast(query.device.type, enabled=False):
            for segment in segments:
                keys, values = _precise(segment.take(key)), _precise(segment.take(value))
                for block in _blocks(segment, num_key_heads, repeats, scoring.window):
                    q, seen = block.take(query, num_key_heads), (block.heads, block.keys)
                    scores, _ = scoring.scores(q, keys[seen], block.num_tokens)
                    weights = torch.softmax(scores, dim=-1)
                    block.put(result, torch.bmm(weights, values[seen]), num_key_heads)
                    if keeps:
                        kept.append(weights.to(value.dtype))
        ctx.save_for_backward(query, key, value, result, *kept)
        ctx.segments, ctx.scoring = segments, scoring
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, result, *kept = ctx.saved_tensors
        remaining = iter(kept)
        scoring: Scoring = ctx.scoring
        num_key_heads = key.shape[1]
        repeats = query.shape[1] // num_key_heads
        grad_query = torch.empty_like(query)
        precise = _precise_dtype(key)
        grad_key, grad_value = (torch.zeros_like(rows.transpose(0, 1), dtype=precise) for rows in (key, value))
        with torch.autocast(query.device.type, enabled=False):
            for segment in ctx.segments:
                keys, values = segment.take(key), segment.take(value)
                precise_keys = keys if kept else _precise(keys)  # for scores that are made again
                for block in _blocks(segment, num_key_heads, repeats, scoring.window):
                    q, grad, out = (block.take(rows, num_key_heads) for rows in (query, gradients[0], result))
                    seen = block.heads, block.keys
                    slope = None
                    if kept:
                        weights = next(remaining)
                    else:
                        scores, slope = scoring.scores(q, precise_keys[seen], block.num_tokens)
                        weights = torch.softmax(scores, dim=-1)
                    of_values = torch.bmm(weights.to(value.dtype).transpose(1, 2), grad)
                    segment.add(grad_value[block.heads], of_values, block.keys)
                    # A softmax's gradient: each weight times (its own slope − the mean slope, which is out · grad).
                    mean = (_precise(out) * _precise(grad)).sum(dim=-1, keepdim=True)
                    change = _precise(torch.bmm(grad, values[seen].transpose(1, 2))).sub_(mean).mul_(weights)
                    if slope is not None:
                        change.mul_(slope)
                    of_scores = change.to(q.dtype)
                    block.put(grad_query, torch.bmm(of_scores, keys[seen]) * scoring.scale, num_key_heads)
                    segment.add(grad_key[block.heads], torch.bmm(of_scores.transpose(1, 2), q), block.keys)
        grad_key, grad_value = (total.transpose(0, 1).to(key.dtype) for total in (grad_key * scoring.scale, grad_value))
        return grad_query, grad_key, grad_value, None, None


def _blocks(segment: Segment, num_heads: int, repeats: int, window: int | None) -> Iterator[Block]:
    """A segment's queries in blocks of at most `BLOCK_SCORES` scores, or of one token in one head."""
    before, length = segment.num_before, segment.num_own
    longest = before + length if window is None else min(before + length, window)
    size = min(length, max(1, BLOCK_SCORES // (repeats * longest)))
    size = -(-length // -(-length // size))  # blocks of about one size
    heads = max(1, BLOCK_SCORES // (repeats * longest * size))
    for start in range(0, length, size):
        stop = min(start + size, length)
        first = 0 if window is None else max(0, before + start - window + 1)
        tokens = slice(segment.own.start + start, segment.own.start + stop)
        for head in range(0, num_heads, heads):
            yield Block(slice(head, min(head + heads, num_heads)), tokens, slice(first, before + stop))


def _num_scores(segment: Segment, num_heads: int, window: int | None) -> int:
    """About so many pairs of a query and a key that it sees."""
    seen = segment.num_before + segment.num_own // 2
    return num_heads * segment.num_own * (seen if window is None else min(seen, window))


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(_precise_dtype(tensor))


def _precise_dtype(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
