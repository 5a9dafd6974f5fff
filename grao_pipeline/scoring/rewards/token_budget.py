"""Batches of token rows of similar lengths, under a budget of tokens."""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from grao_pipeline.errors import StageFailure
from grao_pipeline.plugins import require

if TYPE_CHECKING:
    import torch

SEQUENCE_TOKENS = {"cuda": 512, "cpu": 32}
"""A batch has room for `--batch-size` sequences of this many tokens: more where they are shorter, fewer where they are
longer. A CPU is fastest while a batch fits into its caches.
"""
Output = TypeVar("Output")
Forward = Callable[[list[Sequence[int]]], Iterable[Output]]
"""Some rows → an output per row."""


class TokenBudget:
    """The tokens that a batch may have; less after one did not fit into the memory of the GPU."""

    def __init__(self, batch_size: int, device: str) -> None:
        self._tokens = batch_size * SEQUENCE_TOKENS[device]

    def outputs(
        self, rows: Sequence[Sequence[int]], forward: "Forward[Output]", advice: str
    ) -> Generator[tuple[int, Output], None, None]:
        """(index of a row, its output), the longest rows first, so that a lack of GPU memory shows at once. If a batch
        does not fit, it and all later batches are halved.

        Args:
            rows: token ids [B][T].
            advice: what to do where a single row does not fit.

        Raises:
            StageFailure: a single row does not fit.
        """
        torch = require("torch")
        waiting = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
        while waiting:
            longest = len(rows[waiting[0]])
            batch = waiting[: max(1, self._tokens // longest)]
            try:
                outputs = forward([rows[index] for index in batch])
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise StageFailure(
                        f"A sequence of {longest} tokens does not fit into the GPU's memory next to the model of the "
                        f"reward. {advice}"
                    ) from error
                self._tokens = longest * (len(batch) // 2)
                continue
            yield from zip(batch, outputs, strict=True)
            del waiting[: len(batch)]


def padded(
    rows: Sequence[Sequence[int]], pad: int, device: "str | torch.device"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Token ids [B, T] with `pad` behind the shorter rows, and the attention mask [B, T]."""
    torch = require("torch")
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return ids, mask
