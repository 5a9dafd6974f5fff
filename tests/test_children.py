"""A child ends with its parent, whatever became of the terminal or the pipe that both wrote to."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

CHILD = """
import os, time
from grao_pipeline.children import stop_with_parent
stop_with_parent()
print("watching", flush=True)
time.sleep(120)
print("still here", flush=True)
os._exit(0)
"""
PARENT = """
import os, subprocess, sys
from grao_pipeline.children import PARENT_VARIABLE
subprocess.run([sys.executable, "-c", sys.argv[1]], env={**os.environ, PARENT_VARIABLE: str(os.getpid())})
"""


@pytest.mark.slow
@pytest.mark.parametrize("stderr", ["closed", "full"])
def test_a_child_ends_with_its_parent_where_nobody_reads_its_standard_error(stderr: str) -> None:
    """As when a terminal is closed, or the reader of a pipe is stopped."""
    reader, writer = os.pipe()
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"watching\n"
        if stderr == "closed":
            os.close(reader)
        else:
            os.set_blocking(writer, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(writer, b"." * 4096)
            os.set_blocking(writer, True)
        parent.kill()
        last_words = parent.stdout.read()  # until the child has ended
    os.close(writer)
    if stderr == "full":
        os.close(reader)
    assert last_words == b""
