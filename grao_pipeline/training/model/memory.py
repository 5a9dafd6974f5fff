"""Turns out-of-memory errors into advice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from grao_pipeline.errors import StageFailure


@contextmanager
def out_of_memory_is(failure: Callable[[], StageFailure]) -> Iterator[None]:
    """Raise this failure where the body runs out of memory, on a GPU or on this machine."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            raise failure() from error
        raise
