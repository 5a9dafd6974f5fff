"""Several processes of one stage on this machine, each of which makes its share of the output."""

import queue
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from grao_pipeline.children import RESUME, how_it_ended, start_child
from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.options import StageOptions, YamlSection
from grao_pipeline.options_file import write_options_file
from grao_pipeline.processes import GRACE_SECONDS, StopSignals
from grao_pipeline.progress import Bar, Progress
from grao_pipeline.relay import Relay
from grao_pipeline.storage.writer import PartShare


@dataclass(frozen=True)
class Share:
    """What one process does.

    Example: `Share(options.model_copy(update={"processes": 1, "worker": "0/2"}), {"CUDA_VISIBLE_DEVICES": "0"})`
    """

    options: StageOptions
    environment: Mapping[str, str]


def part_shares(
    options: StageOptions, worker: str | None, environments: Sequence[Mapping[str, str]], missing: Sequence[int]
) -> list[Share]:
    """The shares of a table's parts, one for each environment; those without a missing part are left out.

    Args:
        options: of the stage, with the fields `processes` and `worker`.
        worker: this process's own share of the parts; None is all of them.
    """
    environments = environments[: len(missing)]
    whole = PartShare.parse(worker) or PartShare(0, 1)
    return [
        Share(options.model_copy(update={"processes": 1, "worker": str(share)}), environment)
        for share, environment in zip(whole.split(len(environments)), environments, strict=True)
        if any(share.includes(part) for part in missing)
    ]


def run_shares(
    stage: str, inputs: Sequence[str], out: str, shares: Sequence[Share], progress: Progress, bars: Mapping[str, Bar]
) -> list[dict[str, Any]]:
    """Run `grao STAGE INPUTS OUT` once for each share, at the same time, and wait for all. Where one fails, or this
    process is asked to stop, all are stopped; they also stop when this process dies.

    Args:
        bars: tasks that are tracked already, by their names: what the processes do counts there.

    Returns:
        their summaries, in any order.

    Raises:
        GraoError: that of the first process that failed.
        StageFailure: a process was killed, or failed without a message of ours.
        Interrupted: SIGTERM or SIGINT.
    """
    with ExitStack() as stack, StopSignals() as signals:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grao-shares-")))
        relay = stack.enter_context(Relay(progress, bars))
        group = stack.enter_context(_Group())
        for number, share in enumerate(shares):
            file = directory / f"{number}.json"
            write_options_file(file, share.options, YamlSection("", str(file)))
            arguments = [stage, *inputs, out, "--options", str(file)]
            group.start(arguments, {**share.environment, **relay.environment})
        try:
            failed = group.wait(signals)
        except Interrupted as stop:
            group.stop()
            raise Interrupted(f"{stop} {RESUME}") from None
        group.stop()
    if failed is not None and (failed.code < 0 or relay.error is None):
        which = f"Process {failed.number + 1} of {len(shares)}"
        raise StageFailure(f"{how_it_ended(which, failed.code)} {RESUME}")
    if relay.error is not None:
        raise relay.error
    return relay.summaries


class _End(NamedTuple):
    """How a process ended."""

    number: int
    code: int


class _Group:
    """Child processes that end together."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ends: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __enter__(self) -> "_Group":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `grao ARGUMENTS`."""
        number = len(self._processes)
        process = start_child(arguments, subprocess.DEVNULL, environment=environment)
        self._processes.append(process)

        def watch() -> None:
            process.wait()
            self._ends.put(number)

        Thread(target=watch, daemon=True).start()

    def wait(self, signals: StopSignals) -> _End | None:
        """Wait until all have ended well, or one has not: that one.

        Raises:
            Interrupted: a stop signal came.
        """
        ends = signals.interruptible(iter(self._ends.get, None))
        for _ in self._processes:
            number = next(ends)
            if code := self._processes[number].returncode:
                return _End(number, code)
        return None

    def stop(self) -> None:
        """Ask all once, wait, then insist."""
        running = [process for process in self._processes if process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
