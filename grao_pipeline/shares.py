"""Several processes of one stage on this machine, each of which makes its share of the output."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.children import RESUME, how_it_ended
from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.options import StageOptions, YamlSection
from grao_pipeline.options_file import write_options_file
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import Bar, Progress
from grao_pipeline.relay import Relay
from grao_pipeline.share_processes import ShareProcesses
from grao_pipeline.storage.writer import PartShare
from grao_pipeline.worker_protocol import Command


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
        processes = stack.enter_context(ShareProcesses.taken())
        commands = []
        for number, share in enumerate(shares):
            file = directory / f"{number}.json"
            write_options_file(file, share.options, YamlSection("", str(file)))
            command = Command([stage, *inputs, out, "--options", str(file)], relay.environment)
            commands.append((command, share.environment))
        try:
            failed = processes.run(commands, signals)
        except Interrupted as stop:
            raise Interrupted(f"{stop} {RESUME}") from None
    if failed is not None and (failed.code < 0 or relay.error is None):
        which = f"Process {failed.number + 1} of {len(shares)}"
        raise StageFailure(f"{how_it_ended(which, failed.code)} {RESUME}")
    if relay.error is not None:
        raise relay.error
    return relay.summaries
