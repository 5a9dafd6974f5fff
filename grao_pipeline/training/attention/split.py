"""Split attention: the prompt once, causally; then every continuation over [prompt; itself].

A block of queries at a time, few enough for its scores to stay in cache. Nothing is padded, no mask of T × T exists, no
continuation pays for another. The backward pass makes the scores again where they are many. Works on any device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grao_pipeline.training.packing import PackedBatch

BLOCK_SCORES = 1 << 18
"""Scores of one block, in elements: 1 MiB in float32, about a core's second-level cache."""
KEPT_SCORES = 8
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

    def take(self, rows: Tensor) -> Tensor:
        """What the segment sees of keys or values. [K, T, D] → [K, before + own, D]"""
        return torch.cat([rows[:, self.before], rows[:, self.own]], dim=1) if self.num_before else rows[:, self.own]


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
            query: [k, n · R, D], scaled, a token's R heads side by side; key: [k, M, D].
            num_queries: n.
        """
        scores = torch.bmm(query, key.transpose(1, 2))  # [k, n · R, M]
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


class SplitAttention:
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
        tokens, heads, _ = query.shape
        k, v = (tensor.transpose(0, 1).contiguous() for tensor in (key, value))  # [K, T, D]
        q, repeats = _by_key_head(query, len(k)), heads // len(k)
        precise_q, precise_k, precise_v = _precise(q) * scoring.scale, _precise(k), _precise(v)
        out = precise_q.new_empty(*q.shape[:2], v.shape[-1])
        keeps = scoring.softcap is None and _num_scores(segments, len(k), repeats, scoring.window) <= (
            KEPT_SCORES * query.numel()
        )
        kept = []
        with torch.autocast(q.device.type, enabled=False):
            for segment in segments:
                keys, values = segment.take(precise_k), segment.take(precise_v)
                for block in _blocks(segment, len(k), repeats, scoring.window):
                    rows = _rows(block, repeats)
                    scores, _ = scoring.scores(precise_q[rows], keys[block.heads, block.keys], _length(block))
                    weights = torch.softmax(scores, dim=-1)
                    out[rows] = torch.bmm(weights, values[block.heads, block.keys])
                    if keeps:
                        kept.append(weights.to(q.dtype))
        result = _by_token(out.to(query.dtype), tokens)
        ctx.save_for_backward(query, key, value, result, *kept)
        ctx.segments, ctx.scoring = segments, scoring
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, result, *kept = ctx.saved_tensors
        remaining = iter(kept)
        scoring: Scoring = ctx.scoring
        tokens, heads, _ = query.shape
        k, v = (tensor.transpose(0, 1).contiguous() for tensor in (key, value))
        q, repeats = _by_key_head(query, len(k)), heads // len(k)
        precise_q, precise_k = _precise(q) * scoring.scale, _precise(k)
        grad = _by_key_head(gradients[0], len(k))
        # A softmax's gradient: each weight times (its own slope − the mean slope, which is out · grad).
        mean = (_precise(grad) * _precise(_by_key_head(result, len(k)))).sum(dim=-1, keepdim=True)
        grad_q = torch.empty_like(q)
        grad_k, grad_v = torch.zeros_like(precise_k), torch.zeros_like(v, dtype=precise_k.dtype)
        with torch.autocast(q.device.type, enabled=False):
            for segment in ctx.segments:
                precise_keys, keys, values = (segment.take(rows) for rows in (precise_k, k, v))
                grad_keys = torch.zeros_like(precise_keys)
                grad_values = torch.zeros_like(values, dtype=precise_keys.dtype)
                for block in _blocks(segment, len(k), repeats, scoring.window):
                    rows, seen = _rows(block, repeats), (block.heads, block.keys)
                    slope = None
                    if kept:
                        weights = next(remaining)
                    else:
                        scores, slope = scoring.scores(precise_q[rows], precise_keys[seen], _length(block))
                        weights = torch.softmax(scores, dim=-1)
                    grad_values[seen] += torch.bmm(weights.to(q.dtype).transpose(1, 2), grad[rows])
                    change = torch.bmm(grad[rows], values[seen].transpose(1, 2)).to(mean.dtype)
                    change.sub_(mean[rows]).mul_(weights)
                    if slope is not None:
                        change.mul_(slope)
                    of_scores = change.to(q.dtype)
                    grad_q[rows] = torch.bmm(of_scores, keys[seen])
                    grad_keys[seen] += torch.bmm(of_scores.transpose(1, 2), q[rows])
                for total, part in ((grad_k, grad_keys), (grad_v, grad_values)):
                    total[:, segment.before] += part[:, : segment.num_before]
                    total[:, segment.own] += part[:, segment.num_before :]
        grad_k, grad_v = (total.transpose(0, 1).to(k.dtype) for total in (grad_k * scoring.scale, grad_v))
        return _by_token(grad_q * scoring.scale, tokens), grad_k, grad_v, None, None


def _blocks(segment: Segment, num_heads: int, repeats: int, window: int | None) -> Iterator[Block]:
    """A segment's queries in blocks of at most `BLOCK_SCORES` scores, or of one token in one head."""
    before, length = segment.num_before, segment.own.stop - segment.own.start
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


def _num_scores(segments: tuple[Segment, ...], num_heads: int, repeats: int, window: int | None) -> int:
    blocks = (block for segment in segments for block in _blocks(segment, num_heads, repeats, window))
    return sum(
        (block.heads.stop - block.heads.start) * _length(block) * repeats * (block.keys.stop - block.keys.start)
        for block in blocks
    )


def _rows(block: Block, repeats: int) -> tuple[slice, slice]:
    """Where the block's queries are in [K, T · R, D]."""
    return block.heads, slice(block.tokens.start * repeats, block.tokens.stop * repeats)


def _length(block: Block) -> int:
    return int(block.tokens.stop - block.tokens.start)


def _by_key_head(rows: Tensor, num_key_heads: int) -> Tensor:
    """[T, K · R, D] → [K, T · R, D]: by the head of keys that they meet, a token's R heads side by side."""
    tokens, _, width = rows.shape
    return rows.reshape(tokens, num_key_heads, -1, width).transpose(0, 1).reshape(num_key_heads, -1, width)


def _by_token(rows: Tensor, tokens: int) -> Tensor:
    """[K, T · R, D] → [T, K · R, D]"""
    heads, _, width = rows.shape
    return rows.view(heads, tokens, -1, width).transpose(0, 1).reshape(tokens, -1, width)


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
