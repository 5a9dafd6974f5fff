"""The suite's own machinery: tests that share fixtures run in one process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = """
import os
import pytest

@pytest.mark.parametrize("number", range(20))
def test_it(number):
    with open(os.environ["RAN"], "a") as file:
        file.write(f"{__name__} {os.environ['PYTEST_XDIST_WORKER']}\\n")
"""


@pytest.mark.slow
def test_the_tests_of_a_file_run_in_one_process(tmp_path: Path) -> None:
    """pytest-xdist ignores groups without a word where it does not fit pytest."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(
        "from tests import tiers\ntiers.TESTS = __import__('pathlib').Path(__file__).parent\n"
    )
    for name in "abcd":
        (tmp_path / f"test_{name}.py").write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.tiers", "--numprocesses", "2", "--dist", "loadgroup"]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "RAN": str(tmp_path / "ran")}
    subprocess.run([*command, str(tmp_path)], check=True, env=environment, cwd=tmp_path, capture_output=True)
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    assert len(ran) == 4 * 20
    assert len({worker for _, worker in ran}) == 2
    assert len(set(map(tuple, ran))) == 4  # one process per file
