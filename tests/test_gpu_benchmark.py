"""What `benchmarks/gpu.sh` runs on a GPU, on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.attention_equality import main

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_shared_prompts_have_the_logprobs_and_gradients_of_rows_in_half_precision() -> None:
    done = CliRunner().invoke(main, ["--setting", "groups-of-4"])
    assert done.exit_code == 0, done.output
    numbers = {row[1].strip(): [float(cell) for cell in row[2:5]] for row in _rows(done.output)}
    assert set(numbers) == {"rows, one by one", "split"}
    for largest, mean, gradient in numbers.values():
        assert largest < 0.02
        assert mean < 0.002
        assert gradient < 0.05


@pytest.mark.slow
def test_a_step_is_measured_without_libraries_of_tables() -> None:
    program = (
        "import sys\n"
        "for name in ('polars', 'pyarrow', 'datasets', 'pandas'): sys.modules[name] = None\n"
        "import benchmarks.attention_equality, benchmarks.train\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    subprocess.run(["sh", "-n", "benchmarks/gpu.sh"], cwd=ROOT, check=True)


def _rows(output: str) -> list[list[str]]:
    lines = [line.split("|") for line in output.splitlines() if line.startswith("|")]
    return lines[2:]
