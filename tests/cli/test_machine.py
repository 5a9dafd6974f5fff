"""What the machine refuses is one message, wherever it happens; a bug keeps its traceback."""

import errno
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from grao_pipeline.cli.command import errors_for_people
from grao_pipeline.cli.machine import machine_problem


def test_memory_that_ends_is_one_message() -> None:
    with pytest.raises(click.ClickException) as raised, errors_for_people():
        np.empty(2**50, dtype=np.float64)
    assert raised.value.message.startswith("Not enough memory (MemoryError: Unable to allocate 8.00 PiB")


def test_a_refusal_of_the_file_system_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException) as raised, errors_for_people():
        (tmp_path / ("x" * 300)).exists()
    assert raised.value.message.endswith("…: File name too long.")


def test_other_errors_of_the_system_may_be_bugs() -> None:
    assert machine_problem(OSError(errno.EBADF, "Bad file descriptor")) is None
    with pytest.raises(OSError, match="Bad"), errors_for_people():
        raise OSError(errno.EBADF, "Bad file descriptor")


class PanicException(BaseException):
    """As Rust's libraries raise it."""


def test_a_panic_of_polars_without_file_handles_is_one_message() -> None:
    text = "called `Result::unwrap()` on an `Err` value: "
    text += 'Os { code: 24, kind: TooManyOpenFiles, message: "Too many open files" }'
    with pytest.raises(click.ClickException) as raised, errors_for_people():
        raise PanicException(text)
    assert raised.value.message.startswith("Cannot use a file: Too many open files")


def test_another_panic_is_a_bug() -> None:
    assert machine_problem(PanicException("index out of bounds: the len is 1 but the index is 2")) is None
    assert machine_problem(PanicException("on an `Err` value: Os { code: 2, kind: NotFound }")) is None


@pytest.mark.slow
def test_a_small_address_space_is_refused_before_libraries_abort_in_it() -> None:
    code = "from grao_pipeline.cli.main import main; main(['inspect', 'missing'], prog_name='grao')"
    command = f'ulimit -v 900000; exec "{sys.executable}" -c "{code}"'
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr == (
        "Error: Not enough memory: the address space is limited to 878 MiB (ulimit -v); at least 1280 MiB are needed. "
        "Raise the limit.\n"
    )
