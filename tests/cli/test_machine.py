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


@pytest.mark.slow
def test_a_panic_of_polars_without_file_handles_is_one_message(tmp_path: Path) -> None:
    """Its runtime needs several when the first file is scanned."""
    code = f"""
import os, resource, polars
from grao_pipeline.cli.command import errors_for_people
from grao_pipeline.storage import outside_errors
polars.DataFrame({{"x": [1]}}).write_parquet("{tmp_path}/x.parquet")
used = max(map(int, os.listdir("/proc/self/fd")))
try:
    with errors_for_people():
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
        polars.scan_parquet("{tmp_path}/x.parquet").collect()
except Exception as error:
    print(type(error).__name__, error.message)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.stdout.startswith("StageError Cannot use a file: Too many open files"), (
        process.stdout + process.stderr
    )


def test_another_panic_is_a_bug() -> None:
    panic = type("PanicException", (BaseException,), {})
    assert machine_problem(panic("index out of bounds: the len is 1 but the index is 2")) is None
    assert machine_problem(panic("called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound }")) is None


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
