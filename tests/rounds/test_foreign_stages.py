"""`grao rounds run` in a project that has a package of a name that we once had, and names of other modules of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rounds.test_plan import write_config


@pytest.mark.slow
def test_a_users_own_stages_package_does_not_shadow_ours(tmp_path: Path, model: Path, prompts: str) -> None:
    for name in ("stages", "cli", "rounds"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is the package of the user')\n")
    for name in ("score.py", "train.py", "torch.py", "json.py"):
        (tmp_path / name).write_text("raise RuntimeError('this is a module of the user')\n")
    config = write_config(tmp_path, model, prompts, rounds=1)
    command = [str(Path(sys.executable).parent / "grao"), "rounds", "run", str(config), "--json"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert process.returncode == 0, process.stderr
    assert len(json.loads(process.stdout)["made"]) == 4
