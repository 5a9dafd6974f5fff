"""Train in forked processes, each of which kills itself before another of the file operations in OUT.

    python -m tests.training.crash_points ROOT GROUPS ADVANTAGES OPTION…

`ROOT/whole` is an undisturbed training. For each of its operations (one of a kind: a second checkpoint is like the
first, one file of the unfinished model like another), `ROOT/<number>` is one that got SIGKILL before that operation,
then the same command again. Prints one JSON object per line: number, operation, and both exit statuses.

Forks, since a fresh interpreter takes seconds to import torch and a forked one takes none. The parent imports and
never computes, so no thread exists when it forks.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from grao_pipeline.cli.main import stage_command
from grao_pipeline.garbage import collect_rarely
from grao_pipeline.nursery import import_for_forks

CREATING = os.O_CREAT | os.O_TRUNC
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def run(out: Path, arguments: list[str], report: Path, kill_before: int | None = None) -> int:
    """Train in a forked process; its exit status, negative for a signal. `report` receives the operations."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        watch(out, report, kill_before)
        stage_command("train").main([*arguments[:2], str(out), *arguments[2:]], standalone_mode=False)
        report.with_suffix(".modules").write_text("\n".join(sys.modules))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def watch(out: Path, report: Path, kill_before: int | None) -> None:
    """Note every operation that changes something in `out`; before number `kill_before`, die."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        opens = event == "open" and isinstance(arguments[0], str) and arguments[2] & CREATING
        if not opens and event not in CHANGES:
            return
        path = os.fspath(arguments[0])
        if isinstance(path, str) and Path(path).is_relative_to(out):
            if count == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            with report.open("a") as file:
                file.write(f"{event} {Path(path).relative_to(out)}\n")

    sys.addaudithook(hook)


def import_what_it_imported(report: Path) -> None:
    """So that the processes forked from now on need not."""
    import_for_forks(report.with_suffix(".modules").read_text().split())


def main() -> None:
    collect_rarely()
    root, arguments = Path(sys.argv[1]), sys.argv[2:]
    report = root / "operations"
    assert run(root / "whole", arguments, report) == 0
    import_what_it_imported(report)
    kinds: set[str] = set()
    for number, operation in enumerate(report.read_text().splitlines()):
        kind = re.sub(r"\b[0-9a-f]{8}\b|\d+|(?<=tmp/).*", "", operation)
        if kind in kinds:
            continue
        kinds.add(kind)
        killed = run(root / str(number), arguments, root / "killed", number)
        again = run(root / str(number), arguments, root / "again")
        print(json.dumps({"number": number, "operation": operation, "killed": killed, "again": again}), flush=True)


if __name__ == "__main__":
    main()
