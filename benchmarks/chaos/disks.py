"""A disk that is full, or read-only, and too few open files: one message, then the same command ends in the undisturbed
output.

Disks are file systems in memory, which only root can mount; others get the trials with open files alone.
"""

import itertools
import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from benchmarks.chaos.content import difference
from benchmarks.chaos.kills import TURNS, Arguments, commands, run_undisturbed
from benchmarks.chaos.place import Ended, Place, ended
from benchmarks.chaos.trial import Trial

LARGE = "1g"
PAGE = 4096
FILES = "too few open files"
DISKS = ("full from the start", "full while it runs", "read-only")
HANDLES = (5, 10)
"""Open files that a command may have: it has as many at its start."""
START_SECONDS = 0.3
"""Until the harness has started a command, which then has the limit."""


class Disk:
    """A file system in memory.

    Args:
        path: of the directory where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: int | str) -> None:
        """Make it as large as this, in bytes: full, where it holds more."""
        self._remount(f"size={size}")

    def fill(self) -> None:
        """Leave little room, or none."""
        for room in itertools.count(1):  # a size of 0 is no limit
            usage = os.statvfs(self.path)
            try:
                self.resize((usage.f_blocks - usage.f_bfree + room) * usage.f_frsize)
            except RuntimeError:  # what was written in between does not fit
                continue
            break

    def write_protect(self, is_read_only: bool) -> None:
        self._remount("ro" if is_read_only else "rw")

    def _remount(self, option: str) -> None:
        command = ["mount", "-o", f"remount,{option}", str(self.path)]
        end = subprocess.run(command, capture_output=True, text=True, check=False)
        if end.returncode:
            raise RuntimeError(f"{' '.join(command)}: {end.stderr}")


@contextmanager
def mounted(path: Path) -> Iterator[Disk]:
    """An empty disk with much room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", str(path)], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """Every stage on every bad disk in turn."""
    of_stages = commands(place)
    undisturbed: dict[str, tuple[Path, float]] = {}
    troubles = (*DISKS, FILES) if os.geteuid() == 0 and shutil.which("mount") else (FILES,)
    for number in itertools.count():
        for stage, trouble in itertools.product(TURNS, troubles):
            if stage not in undisturbed:
                undisturbed[stage] = run_undisturbed(place, stage, of_stages[stage])
            generator = random.Random(f"disks {stage} {trouble} {seed} {number}")
            directory = place.fresh()
            yield _trial(place, directory, stage, trouble, of_stages[stage], generator, *undisturbed[stage])
            shutil.rmtree(directory, ignore_errors=True)


def _trial(
    place: Place,
    directory: Path,
    stage: str,
    trouble: str,
    arguments: Arguments,
    generator: random.Random,
    undisturbed: Path,
    seconds: float,
) -> Trial:
    out = directory / "out"
    with nullcontext() if trouble == FILES else mounted(directory) as disk:
        if disk is None:
            troubled, detail = _with_few_files(place, arguments, out, generator, seconds)
        else:
            troubled, detail = _on_bad_disk(place, disk, trouble, arguments, out, generator, seconds)
        again = place.run(*arguments(out))
        unequal = difference(out, undisturbed)
    detail = f"{stage}: {detail}: {troubled.last_line}"
    if troubled.fault or troubled.code not in (0, 1):
        return Trial(trouble, troubled.fault or f"EXIT {troubled.code}", detail)
    if troubled.code and not troubled.last_line.startswith("Error: "):
        return Trial(trouble, "NO MESSAGE", detail)
    if again.fault or again.code:
        return Trial(trouble, again.fault or "REFUSED", f"{detail}; then {again.last_line}")
    outcome = "one message, then equal" if troubled.code else "room enough, equal"
    return Trial(trouble, "DIFFERENT" if unequal else outcome, f"{detail}: {unequal}")


def _with_few_files(
    place: Place, arguments: Arguments, out: Path, generator: random.Random, seconds: float
) -> tuple[Ended, str]:
    number, moment = generator.randint(*HANDLES), generator.uniform(START_SECONDS, seconds)
    command = place.start(*arguments(out))
    time.sleep(moment)
    with suppress(ProcessLookupError):  # it has ended
        resource.prlimit(command.pid, resource.RLIMIT_NOFILE, (number, number))
    return ended(command), f"{number} open files after {moment:.2f} of {seconds:.2f} s"


def _on_bad_disk(
    place: Place,
    disk: Disk,
    trouble: str,
    arguments: Arguments,
    out: Path,
    generator: random.Random,
    seconds: float,
) -> tuple[Ended, str]:
    """What a command does on a disk in trouble, which is over afterwards."""
    moment = generator.uniform(0.0, seconds)
    detail = f"after {moment:.2f} of {seconds:.2f} s"
    if trouble == "full from the start":
        size = PAGE * generator.randint(1, 64)
        disk.resize(size)
        end, detail = place.run(*arguments(out)), f"{size} bytes"
        disk.resize(LARGE)
    elif trouble == "full while it runs":
        command = place.start(*arguments(out))
        time.sleep(moment)
        disk.fill()
        end = ended(command)
        disk.resize(LARGE)
    else:
        command = place.start(*arguments(out))
        time.sleep(moment)
        command.kill()
        command.communicate()
        disk.write_protect(True)
        end = place.run(*arguments(out))
        disk.write_protect(False)
    return end, detail
