"""`grao rounds run` in a process of its own, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "grao_pipeline", "rounds", "run", str(config)]


def run(config: Path) -> dict[str, Any]:
    """The summary of a run that must succeed."""
    process = subprocess.run([*command(config), "--json"], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    summary: dict[str, Any] = json.loads(process.stdout)
    return summary
