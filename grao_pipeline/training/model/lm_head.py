"""Fused, chunked LM head: head and loss in one pass, the logits matrix never exists whole.

The loss is −Σ_n w_n · log p(target_n). Its weights are known in advance, so the gradients of the head are computed in
the forward pass, chunk by chunk: three matrix products per token, nothing stored, nothing recomputed.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

CHUNK_ELEMENTS = {"cpu": 1 << 25, "cuda": 1 << 28}
"""Largest number of logits in one chunk: enough tokens for fast matrix products."""
BLOCK_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 28}
"""Largest number of logits that are processed together after a product: on CPU, few enough to stay in cache."""


@dataclass(frozen=True)
class Head:
    """A language model's last layer.

    Attributes:
        weight: [V, H].
        bias: [V]; None for models without.
        scale: factor of the logits (1 for most models).
        softcap: logits become softcap · tanh(logits / softcap); None for no cap.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def finish(self, raw: Tensor) -> Tensor:
        """Result of the matrix product → logits, in float32 (float64 from float64). [C, V]"""
        logits = raw.to(torch.promote_types(raw.dtype, torch.float32), copy=True)
        if self.bias is not None:
            logits += self.bias
        if self.scale != 1.0:
            logits *= self.scale
        return logits if self.softcap is None else logits.div_(self.softcap).tanh_().mul_(self.softcap)


class Buffer:
    """Memory on CPU for one large matrix, reused from call to call.

    The C library returns blocks of this size to the operating system at once, whose kernel then clears every page of
    the next one: about 4 % of a step. On a GPU torch itself reuses freed memory.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def matrix(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """An uninitialized matrix with the device and data type of `like`. [rows, columns]"""
        if like.device.type != "cpu":
            return like.new_empty(rows, columns)
        # Vocabulary sizes are multiples of powers of two: rows at such distances compete for the same cache lines.
        stride = columns + 64
        if self._memory.dtype != like.dtype or self._memory.numel() < rows * stride:
            self._memory = torch.empty(0)  # Free it before the new allocation.
            self._memory = like.new_empty(rows * stride)
        whole = self._memory[: rows * stride].view(rows, stride)
        # oneDNN's products of bfloat16 on Intel's AMX read on beyond a row's end: a NaN there would be one in the sum.
        whole[:, columns:].zero_()
        return whole[:, :columns]


def weighted_logprob_sum(
    hidden: Tensor,
    head: Head,
    weights: Tensor,
    targets: Tensor,
    compiled: bool = False,
    buffer: Buffer | None = None,
) -> tuple[Tensor, Tensor]:
    """Σ_n weights_n · log p(targets_n | hidden_n), and each log-prob.

    Args:
        hidden: [N, H].
        weights: [N], constants; [N, M] for M tokens at every place.
        targets: [N], or [N, M].
        compiled: fuse the operations between the matrix products with torch.compile.
        buffer: memory for the logits of a chunk; free again after the call.

    Returns:
        the sum [], differentiable once in hidden and head, and the log-probs in nats, as the targets, not
        differentiable.
    """
    result: tuple[Tensor, Tensor] = _WeightedLogprobSum.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, weights, targets, head.scale, head.softcap, compiled, buffer or Buffer()
    )
    return result


@torch.no_grad()
def token_logprobs(hidden: Tensor, head: Head, targets: Tensor, buffer: Buffer | None = None) -> Tensor:
    """log p(targets_n | hidden_n) in nats, without a graph. [N], or [N, M] for M tokens at every place

    Args:
        targets: [N] or [N, M].
        buffer: memory for the logits of a chunk; free again after the call.
    """
    columns = _columns(targets)
    pieces = [
        logits.gather(-1, columns[rows]) - logits.logsumexp(dim=-1, keepdim=True)
        for rows, logits in _blocks_of_logits(hidden, head, buffer or Buffer())
    ]
    return torch.cat(pieces).view(targets.shape)


@torch.no_grad()
def top_logprobs(hidden: Tensor, head: Head, count: int, buffer: Buffer | None = None) -> tuple[Tensor, Tensor]:
    """The likeliest tokens at every place, and their log-probs in nats, the likeliest first. [N, count] each"""
    pieces = [
        (logits - logits.logsumexp(dim=-1, keepdim=True)).topk(count, dim=-1)
        for _, logits in _blocks_of_logits(hidden, head, buffer or Buffer())
    ]
    return torch.cat([piece.indices for piece in pieces]), torch.cat([piece.values for piece in pieces])


def _blocks_of_logits(hidden: Tensor, head: Head, buffer: Buffer) -> Iterator[tuple[slice, Tensor]]:
    """(slice of the rows, their logits), in order."""
    states, weight = _working(hidden, head.weight)
    with torch.autocast(hidden.device.type, enabled=False):
        for rows in _cut(len(states), len(weight), CHUNK_ELEMENTS, hidden.device):
            raw = buffer.matrix(len(states[rows]), len(weight), like=states)
            torch.mm(states[rows], weight.t(), out=raw)
            for block in _cut(len(raw), len(weight), BLOCK_ELEMENTS, hidden.device):
                yield slice(rows.start + block.start, rows.start + block.stop), head.finish(raw[block])


class _Context(Protocol):
    """What the two passes share."""

    needs_input_grad: tuple[bool, ...]
    gradients: tuple[Tensor | None, ...] | None

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _WeightedLogprobSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        weights: Tensor,
        targets: Tensor,
        scale: float,
        softcap: float | None,
        compiled: bool,
        buffer: Buffer,
    ) -> tuple[Tensor, Tensor]:
        head = Head(weight, bias, scale, softcap)
        to_gradient = _compiled_to_gradient() if compiled else _to_gradient
        states, matrix = _working(hidden, weight)
        precise = torch.promote_types(states.dtype, torch.float32)
        grad_hidden = torch.empty_like(states)
        trains_weight = ctx.needs_input_grad[1]
        grad_weight = torch.zeros_like(weight, dtype=precise) if trains_weight else None
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=precise)
        logprobs = torch.empty(targets.shape, dtype=precise, device=hidden.device)
        columns, factors, values = _columns(targets), _columns(weights), _columns(logprobs)
        chunks = _cut(len(targets), len(weight), CHUNK_ELEMENTS, hidden.device)
        product = torch.empty_like(matrix) if trains_weight and states.dtype != precise else None
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in chunks:
                chunk = buffer.matrix(len(states[rows]), len(matrix), like=states)
                torch.mm(states[rows], matrix.t(), out=chunk)  # raw output of the head, then its gradient, in place
                for block in _cut(len(chunk), len(weight), BLOCK_ELEMENTS, hidden.device):
                    values[rows][block] = to_gradient(head, chunk[block], factors[rows][block], columns[rows][block])
                if grad_bias is not None:
                    grad_bias += chunk.sum(dim=0, dtype=precise)
                torch.mm(chunk, matrix, out=grad_hidden[rows])
                if grad_weight is None:
                    continue
                if product is None:
                    grad_weight.addmm_(chunk.t(), states[rows])
                else:
                    torch.mm(chunk.t(), states[rows], out=product)
                    for block in _cut(len(product), product.shape[1], BLOCK_ELEMENTS, hidden.device):
                        grad_weight[block] += product[block]
        grad_weight = None if grad_weight is None else grad_weight.to(weight.dtype)
        ctx.gradients = (grad_hidden.to(hidden.dtype), grad_weight, grad_bias)
        ctx.mark_non_differentiable(logprobs)
        return (logprobs * weights).sum(), logprobs

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        stored, ctx.gradients = ctx.gradients, None  # They are scaled in place, hence only once.
        if stored is None:
            raise RuntimeError("weighted_logprob_sum can be differentiated once; call the function again.")
        return *(None if gradient is None else gradient.mul_(gradients[0]) for gradient in stored), *[None] * 6


def _to_gradient(head: Head, raw: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """Replace the raw output of the head [C, V] by the gradient of the weighted sum; the log-probs. [C, M]

    The gradient with respect to a logit is −p Σ_m w_m, and w_m more at target m; for one target, w · (1 − p).

    Args:
        weights, targets: [C, M].
    """
    if head.bias is None and head.scale == 1.0 and head.softcap is None:
        largest = raw.amax(dim=-1, keepdim=True)
        logits = torch.sub(raw, largest.to(torch.promote_types(raw.dtype, torch.float32)))
        slope = None
    else:
        logits = head.finish(raw)
        slope = None if head.softcap is None else (1 - (logits / head.softcap) ** 2).mul_(head.scale)
        logits -= logits.amax(dim=-1, keepdim=True)
    picked = logits.gather(-1, targets)
    logits.exp_()
    total = logits.sum(dim=-1, keepdim=True)
    logprobs = picked - total.log()
    factors = weights.to(logits.dtype)
    if targets.shape[1] == 1:
        gradient = logits.mul_(factors / -total).scatter_(-1, targets, factors * -torch.expm1(logprobs))
    else:
        gradient = logits.mul_(factors.sum(dim=-1, keepdim=True) / -total).scatter_add_(-1, targets, factors)
    if slope is not None:
        gradient *= slope
    elif head.scale != 1.0:
        gradient *= head.scale
    raw.copy_(gradient)
    return logprobs


def _columns(values: Tensor) -> Tensor:
    """[N] → [N, 1], a view; [N, M] as it is."""
    return values[:, None] if values.dim() == 1 else values


@functools.cache
def _compiled_to_gradient() -> Callable[[Head, Tensor, Tensor, Tensor], Tensor]:
    return torch.compile(_to_gradient, dynamic=True)


def _working(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the precision of the matrix products: that of autocast, where it is enabled."""
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    return hidden.detach().to(dtype), weight.detach().to(dtype)


def _cut(rows: int, width: int, elements: dict[str, int], device: torch.device) -> list[slice]:
    """Slices of rows of this width, with at most `elements` elements each."""
    size = max(1, elements.get(device.type, elements["cuda"]) // width)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
