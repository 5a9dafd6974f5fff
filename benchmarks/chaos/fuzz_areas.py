"""The areas of the fuzzing: each makes an input and the command that reads it."""

import contextlib
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos import fuzz_models, fuzz_options, fuzz_runs, fuzz_sources, fuzz_tables
from benchmarks.chaos.fuzz_run import Run
from benchmarks.chaos.place import Place
from benchmarks.chaos.viewer import look_at_all

Main = Callable[..., Any]
Area = Callable[[Place, Path, random.Random], Run]
AREAS: dict[str, tuple[Area, int]] = {
    "source": (fuzz_sources.run, 40),
    "table": (fuzz_tables.run, 30),
    "yaml": (fuzz_options.run_yaml, 15),
    "options": (fuzz_options.run_options, 15),
    "model": (fuzz_models.run, 15),
    "outputs": (fuzz_runs.run, 15),
}
"""With how often each has its turn."""


def warm_up(main: Main, place: Place) -> None:
    """Run a command of every kind on intact inputs: what it imports is not the first input's time and memory."""
    commands = [
        ("prompts", place.rows, "prompts"),
        ("inspect", place.groups),
        ("score", place.groups, "scores", *place.SCORE, "--cache", "cache.sqlite"),
        ("advantages", place.groups, "advantages", "--scores", place.scores),
        ("train", place.groups, place.advantages, "trained", "--model", place.model, "--dry-run"),
        ("merge", "merged", "--model", place.model, "--model", place.trained),
        ("logprobs", place.groups, "logprobs", "--model", place.trained),
        ("audit", place.groups, place.scores, "--second", place.scores),
        ("compare", place.groups, place.scores, place.scores),
        ("verify", place.base),
        ("report", place.base, "report.html"),
        ("push", place.trained, "somebody/model", "--dry-run"),
        ("generate", place.prompts, "groups", "--model", place.model, *fuzz_tables.GENERATE, "--limit", "1"),
    ]
    directory = place.root / f"warm-{os.getpid()}"
    directory.mkdir()
    output = io.StringIO()
    for command in commands:
        with contextlib.chdir(directory), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            main([str(word) for word in command], prog_name="grao", standalone_mode=False)
    look_at_all(str(place.base))
