"""Whatever Arrow raises about a file or its values → one error of ours; low memory is never said to be damage."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from grao_pipeline.errors import InputError
from grao_pipeline.storage.outside_errors import reason_of, too_little_memory

OUT_OF_MEMORY = re.compile(r"(?i)malloc|not enough memory|out of memory|cannot allocate|bad_alloc")
LARGEST_MEMORY = 2**40
"""Bytes. A file that asks for more has a damaged size."""


@contextmanager
def arrow_errors(where: str, error_of: Callable[[str], InputError]) -> Iterator[None]:
    """Read an Arrow or Parquet file, or turn its values into Python's.

    Args:
        where: the file, for messages.
        error_of: the error to raise, by the reason.

    Raises:
        InputError: that of `error_of`: it is not such a file, is damaged, or has values that Python does not have.
        StageFailure: there is too little memory to read it.
    """
    try:
        yield
    # ValueError: texts that are not UTF-8, structs with two fields of one name, dates that Python does not have.
    except (
        *(MemoryError, pa.ArrowException, OSError, ValueError),
        *(KeyError, OverflowError, RecursionError),
    ) as error:
        if _is_out_of_memory(error):
            raise too_little_memory(f"read {where}", error) from error
        raise error_of(reason_of(error)) from error


def _is_out_of_memory(error: Exception) -> bool:
    size = re.search(r"malloc of size (\d+)", str(error))
    if size is not None:
        return int(size[1]) < LARGEST_MEMORY
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)) is not None
