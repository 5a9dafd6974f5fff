"""SIGKILL of the command, or of one of its processes, at random moments of `--processes 2` and of rounds with two
processes that stay; then the same command until it ends: the output must be that of one undisturbed process."""

import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors.torch import load_file

from benchmarks.chaos.content import difference
from benchmarks.chaos.kills import run_undisturbed, write_rounds
from benchmarks.chaos.place import Place, ended
from benchmarks.chaos.trial import Trial

PATIENCE = 600.0
"""Seconds until a command hangs: its processes import torch themselves."""
CLOSE = 1e-5
"""Largest difference of a weight: two ranks add up in another order."""
WEIGHTS = "model.safetensors"
TWO = {"generate": {"processes": 2}, "score": {"processes": 2}}
"""`resources` of the rounds."""


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """Every stage with `--processes` in turn, and rounds."""
    seconds: dict[str, float] = {}
    one_process, _ = run_undisturbed(place, "rounds", lambda out: ("rounds", "run", write_rounds(place, out, rounds=2)))
    expected = {"generate": place.groups, "score": place.scores, "train": place.trained, "rounds": one_process}
    for number in itertools.count():
        for stage, output in expected.items():
            if stage not in seconds:
                started = time.monotonic()
                place.run(*_arguments(place, stage, place.fresh("timed") / "out"), seconds=PATIENCE)
                seconds[stage] = time.monotonic() - started
            yield _trial(place, stage, f"{seed}-{number}", seconds[stage], output)


def _arguments(place: Place, stage: str, out: Path) -> Sequence[object]:
    if stage == "rounds":
        return ("rounds", "run", write_rounds(place, out, rounds=2, resources=TWO))
    inputs = {
        "generate": (place.prompts, out, "--model", place.model, *place.GENERATE),
        "score": (place.groups, out, *place.SCORE, "--cache", out.parent / "cache.sqlite"),
        "train": (place.groups, place.advantages, out, "--model", place.model, *place.TRAIN),
    }
    return (stage, *inputs[stage], "--processes", 2)


def _trial(place: Place, stage: str, seed: str, seconds: float, expected: Path) -> Trial:
    generator = random.Random(f"processes {stage} {seed}")
    directory = place.fresh()
    out, moment = directory / "out", generator.uniform(0.0, seconds)
    command = place.start(*_arguments(place, stage, out))
    time.sleep(moment)
    alive = [command.pid, *_descendants(command.pid)] if command.poll() is None else []
    victim = generator.choice(alive) if alive else None
    if victim is not None:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    first = ended(command, PATIENCE)
    who = "the command" if victim == command.pid else "a process of it"
    detail = f"seed {seed}, {who} killed after {moment:.2f} of {seconds:.2f} s"
    left = _wait_for(alive)
    if left:
        return Trial(f"{stage}: {who}", "LEFT OVER", f"{detail}: {left}", 1)
    if victim != command.pid and first.fault:
        return Trial(f"{stage}: {who}", first.fault, f"{detail}: {first.last_line}", 1)
    end = place.run(*_arguments(place, stage, out), seconds=PATIENCE)
    what, kills = f"{stage}: {who}", int(victim is not None)
    if end.fault or end.code:
        return Trial(what, end.fault or "REFUSED", f"{detail}: {end.last_line}", kills)
    unequal = _difference_of_weights(out, expected) if stage == "train" else difference(out, expected)
    shutil.rmtree(directory)
    return Trial(what, "DIFFERENT" if unequal else "equal", f"{detail}: {unequal}", kills)


def _difference_of_weights(out: Path, expected: Path) -> str | None:
    ours, theirs = load_file(out / WEIGHTS), load_file(expected / WEIGHTS)
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    return None if worst < CLOSE else f"a weight differs by {worst:.2g}"


def _descendants(pid: int) -> list[int]:
    """The processes below a process, without launchers' shells."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += [int(child) for child in path.read_text().split()]
    return children + [pid for child in children for pid in _descendants(child)]


def _wait_for(pids: Sequence[int], patience: float = 60.0) -> list[int]:
    """Those of the processes that do not end."""
    deadline = time.monotonic() + patience
    left = list(pids)
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _runs(pid)]
        time.sleep(0.05)
    return left


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
