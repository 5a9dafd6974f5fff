"""The verb `doctor`: tries everything in processes that may die, and says what to do about what does not work."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Timer
from typing import Literal

from grao_pipeline.doctor.machine import LITTLE_DISK, disks, machine
from grao_pipeline.doctor.options import DoctorOptions
from grao_pipeline.doctor.trials import ALONE, KINDS, names
from grao_pipeline.errors import UsageError
from grao_pipeline.options import closest
from grao_pipeline.progress import SILENT, Bar, Progress

State = Literal["works", "fails", "not installed", "not here"]
"""`not here`: it needs another device, or another precision."""
WITH_SERVER = "needs a server: grao generate … --engine openai --base-url URL"


@dataclass(frozen=True)
class Trial:
    """One thing that was tried.

    Attributes:
        detail: what it did, or what to do about it.
    """

    name: str
    state: State
    detail: str
    seconds: float = 0.0


@dataclass
class Diagnosis:
    """What works on this machine.

    Attributes:
        disks: free gigabytes by use and path.
        failures: what is installed and does not work, a sentence each.
    """

    machine: dict[str, str] = field(default_factory=dict)
    disks: dict[str, float] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        return [f"{trial.name}: {trial.detail}" for trial in self.trials if trial.state == "fails"]


def examine_machine(options: DoctorOptions, progress: Progress = SILENT) -> Diagnosis:
    """Try what the stages need.

    Example:
        examine_machine(DoctorOptions(only=["devices"])).failures

    Raises:
        UsageError: `options.only` names something that is not tried.
    """
    known = [*KINDS, *names([])]
    for name in options.only:
        if name not in known:
            raise UsageError(f"unknown '{name}'.{closest(name, known)} Tried are {', '.join(known)}.", option="only")
    diagnosis = Diagnosis(machine(), {f"{use} ({path})": round(free, 1) for use, path, free in disks()})
    diagnosis.notes += [
        f"Only {free:.1f} GB are free for {use} ({path})."
        for use, path, free in disks()
        if free < LITTLE_DISK and use != "shared memory"
    ]
    wanted = names(options.only)
    together = [name for name in wanted if name not in ALONE]
    with progress.track("trying", len(wanted), "trials") as bar:
        for batch in (together, *([name] for name in wanted if name in ALONE)):
            diagnosis.trials += _tried(batch, options.timeout, bar)
    if not options.only or "engines" in options.only:
        diagnosis.trials.append(Trial("engine openai", "not here", WITH_SERVER))
    return diagnosis


def _tried(wanted: Sequence[str], timeout: float, bar: Bar) -> Iterator[Trial]:
    """The results of trials; after one that kills its process the others follow in another."""
    left = list(wanted)
    while left:
        for trial in _run(tuple(left), timeout):
            bar.log(f"{trial.name}: {trial.state}")
            bar.advance()
            left.remove(trial.name)
            yield trial


def _run(wanted: Sequence[str], timeout: float) -> Iterator[Trial]:
    """Trials in one process, until the last one, or until the process dies."""
    command = [sys.executable, "-m", "grao_pipeline.doctor.trials", *wanted]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for name in wanted:
            clock = Timer(timeout, process.kill)
            clock.start()
            line = process.stdout.readline()
            clock.cancel()
            if not line:
                code = process.wait()
                problem = f"gave no answer within {timeout:g} s" if clock.finished.is_set() and code == -9 else ""
                yield Trial(name, "fails", problem or f"its process ended with code {code}")
                return
            yield Trial(**json.loads(line))
