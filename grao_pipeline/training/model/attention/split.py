"""Split attention: the prompt once, causally; then every continuation over [prompt; itself].

Queries are processed in blocks whose scores stay in cache. There is no padding and no T × T mask, and no continuation
costs more because of another one. The backward pass recomputes the scores where they are many. Works on any device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.attention.base import SharedPrefixAttention

BLOCK_SCORES = 1 << 20
"""Largest number of scores in a block: 4 MiB in float32, so that a block stays in cache between products."""
STORED_SCORES = 20
"""A layer stores its attention weights for the backward pass if they are at most this many times its queries."""


@dataclass(frozen=True)
class Segment:
    """Tokens of the packed row that attend causally to each other, and to the whole prompt before them.

    Example: a continuation of 2 tokens after a prompt of 3, at the row's start: `Segment(slice(0, 3), slice(3, 5))`.
    A prompt has nothing before it: `Segment(slice(0, 0), slice(0, 3))`.
    """

    before: slice
    tokens: slice

    @property
    def num_before(self) -> int:
        return int(self.before.stop - self.before.start)

    @property
    def num_tokens(self) -> int:
        return int(self.tokens.stop - self.tokens.start)

    def take(self, rows: Tensor) -> Tensor:
        """The keys or values that the segment sees. [T, K, D] → [K, before + tokens, D]"""
        return torch.cat([rows[self.before], rows[self.tokens]]).transpose(0, 1).contiguous()

    def add(self, total: Tensor, part: Tensor, keys: slice) -> None:
        """The inverse of `take` for gradients of some of the keys: add part [K, M, D] to total [K, T, D]."""
        before = max(0, self.num_before - keys.start)
        total[:, self.before][:, keys.start :] += part[:, :before]
        after = slice(max(0, keys.start - self.num_before), keys.stop - self.num_before)
        total[:, self.tokens][:, after] += part[:, before:]


@dataclass(frozen=True)
class Block:
    """Some queries of a segment, in some of the heads, with all keys that they see.

    Attributes:
        heads: heads of keys and values.
        tokens: positions of the queries in the packed row.
        keys: positions of the keys in the segment's [before; tokens].
    """

    heads: slice
    tokens: slice
    keys: slice

    @property
    def num_tokens(self) -> int:
        return int(self.tokens.stop - self.tokens.start)

    def take(self, rows: Tensor, num_key_heads: int) -> Tensor:
        """The rows of the block by key head, its R query heads side by side. [T, K · R, D] → [k, n · R, D]"""
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
    """How a layer computes scores from queries and keys.

    Attributes:
        window: number of tokens that a token sees, itself included; None for all.
        softcap: scores become softcap · tanh(scores / softcap); None for no cap.
    """

    scale: float
    window: int | None
    softcap: float | None

    def scores(self, query: Tensor, key: Tensor, num_queries: int) -> tuple[Tensor, Tensor | None]:
        """The scores of a block whose last query sees its last key, and their derivative by the uncapped scores.

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
    """Plain matrix products, block by block: the prompt once, then every continuation over [prompt; itself]."""

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
        # Under autocast the rotation leaves queries and keys in float32; values have the precision of the products.
        query, key = query.to(value.dtype), key.to(value.dtype)
        out: Tensor = _SplitAttention.apply(query, key, value, layout, scoring)  # type: ignore[no-untyped-call]
        return out


class _Context(Protocol):
    """What the two passes share."""

    saved_tensors: tuple[Tensor, ...]
    segments: tuple[Segment, ...]
    scoring: Scoring

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _SplitAttention(torch.autograd.Function):
    """Forward pass and softmax in at least float32; products with gradients in the precision of the inputs."""

    @staticmethod
    def forward(
        ctx: _Context, query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scoring: Scoring
    ) -> Tensor:
        num_key_heads = key.shape[1]
        repeats = query.shape[1] // num_key_heads
        result = query.new_empty(*query.shape[:2], value.shape[-1])
        num_scores = sum(_num_scores(segment, query.shape[1], scoring.window) for segment in segments)
        stores = scoring.softcap is None and num_scores <= STORED_SCORES * query.numel()
        stored = []
        with torch.autocast(query.device.type, enabled=False):
            for segment in segments:
                keys, values = _precise(segment.take(key)), _precise(segment.take(value))
                for block in _blocks(segment, num_key_heads, repeats, scoring.window):
                    q, seen = block.take(query, num_key_heads), (block.heads, block.keys)
                    scores, _ = scoring.scores(q, keys[seen], block.num_tokens)
                    weights = torch.softmax(scores, dim=-1)
                    block.put(result, torch.bmm(weights, values[seen]), num_key_heads)
                    if stores:
                        stored.append(weights.to(value.dtype))
        ctx.save_for_backward(query, key, value, result, *stored)
        ctx.segments, ctx.scoring = segments, scoring
        return result

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, result, *stored = ctx.saved_tensors
        remaining = iter(stored)
        scoring: Scoring = ctx.scoring
        num_key_heads = key.shape[1]
        repeats = query.shape[1] // num_key_heads
        grad_query = torch.empty_like(query)
        precise = _precise_dtype(key)
        grad_key, grad_value = (torch.zeros_like(rows.transpose(0, 1), dtype=precise) for rows in (key, value))
        with torch.autocast(query.device.type, enabled=False):
            for segment in ctx.segments:
                keys, values = segment.take(key), segment.take(value)
                precise_keys = keys if stored else _precise(keys)  # to recompute the scores
                for block in _blocks(segment, num_key_heads, repeats, scoring.window):
                    q, grad, out = (block.take(rows, num_key_heads) for rows in (query, gradients[0], result))
                    seen = block.heads, block.keys
                    slope = None
                    if stored:
                        weights = next(remaining)
                    else:
                        scores, slope = scoring.scores(q, precise_keys[seen], block.num_tokens)
                        weights = torch.softmax(scores, dim=-1)
                    of_values = torch.bmm(weights.to(value.dtype).transpose(1, 2), grad)
                    segment.add(grad_value[block.heads], of_values, block.keys)
                    # The gradient of a softmax: weight times (slope − mean slope); the mean slope is out · grad.
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
    before, length = segment.num_before, segment.num_tokens
    longest = before + length if window is None else min(before + length, window)
    size = min(length, max(1, BLOCK_SCORES // (repeats * longest)))
    size = -(-length // -(-length // size))  # blocks of about equal size
    heads = max(1, BLOCK_SCORES // (repeats * longest * size))
    for start in range(0, length, size):
        stop = min(start + size, length)
        first = 0 if window is None else max(0, before + start - window + 1)
        tokens = slice(segment.tokens.start + start, segment.tokens.start + stop)
        for head in range(0, num_heads, heads):
            yield Block(slice(head, min(head + heads, num_heads)), tokens, slice(first, before + stop))


def _num_scores(segment: Segment, num_heads: int, window: int | None) -> int:
    """Approximate number of (query, key) pairs where the query sees the key."""
    seen = segment.num_before + segment.num_tokens // 2
    return num_heads * segment.num_tokens * (seen if window is None else min(seen, window))


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(_precise_dtype(tensor))


def _precise_dtype(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
