"""Too little memory, answered with what to do about it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from grao_pipeline.errors import StageFailure


@contextmanager
def out_of_memory_is(failure: Callable[[], StageFailure]) -> Iterator[None]:
    """What runs out of a GPU's memory within, or of this machine's, raises this failure."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            raise failure() from error
        raise
