"""Ranks of a training, started and watched by torch's elastic launcher, as torchrun does; or those that stay."""

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from grao_pipeline.children import PARENT_VARIABLE, how_it_ended
from grao_pipeline.environment import environment
from grao_pipeline.errors import Interrupted, StageFailure, UsageError
from grao_pipeline.models.devices import device_sets
from grao_pipeline.options import YamlSection
from grao_pipeline.options_file import write_options_file
from grao_pipeline.processes import GRACE_SECONDS
from grao_pipeline.progress import Progress
from grao_pipeline.relay import Relay
from grao_pipeline.residence import RESIDENCE
from grao_pipeline.share_processes import Failure
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.resident_ranks import run_resident_ranks

RUN = "grao-train"
"""What the machines of one training call it when they meet."""
MEETING_SECONDS = 60
"""How long to try to reach the place where the machines meet; twice that, as torch does."""
RESUME = "The steps of the newest checkpoint are kept: run the same command to resume."


def ranks_to_start(options: TrainOptions) -> int:
    """How many ranks this machine starts; 0 where this process trains by itself, or is a rank already.

    Raises:
        UsageError: there are fewer GPUs.
    """
    if "WORLD_SIZE" in os.environ:
        return 0
    count = len(device_sets(options.processes, options.device, 1))
    return count if count > 1 or options.nodes > 1 else 0


def train_in_processes(
    arguments: list[str], options: TrainOptions, count: int, progress: Progress
) -> dict[str, Any] | None:
    """Run `grao train ARGUMENTS` in as many ranks on this machine as `count` says, and wait for them. All are stopped
    where one fails, or this process is; they also stop when it dies.

    Args:
        arguments: the places of the groups, the advantages and the model.

    Returns:
        the summary of the training; None on a machine without the first rank.

    Raises:
        GraoError: that of the rank that failed.
        UsageError: the host where the machines meet is not known.
        StageFailure: a rank was killed, or failed without a message of ours; or the machines did not meet.
        Interrupted: SIGTERM or SIGINT; the finished steps are saved.
    """
    of_rank = options.model_copy(update={"processes": 1})
    threads = device_sets(count, "cpu", 0)[0]  # of a rank on a GPU, too: it has as many cores to itself
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grao-ranks-")))
        relay = stack.enter_context(Relay(progress))
        file = directory / "options.json"
        write_options_file(file, of_rank, YamlSection("", str(file)))
        command = ["train", *arguments, "--options", str(file)]
        try:
            if RESIDENCE.is_open and options.nodes == 1:
                failure = run_resident_ranks(command, count, relay.environment, threads)
            else:
                stack.enter_context(environment({**threads, **relay.environment}))
                failure = _launch_ranks(command, options, count, directory)
        except Interrupted as stop:
            raise Interrupted(f"{stop} {RESUME}") from None
    if failure is not None:
        if failure.code < 0 or relay.error is None:
            raise StageFailure(f"{how_it_ended(f'Rank {failure.number}', failure.code)} {RESUME}")
        raise relay.error
    return next(iter(relay.summaries), None)


def _launch_ranks(command: list[str], options: TrainOptions, count: int, directory: Path) -> Failure | None:
    """Run `grao COMMAND` below the launcher; the rank that failed.

    Args:
        directory: for the launcher's logs.

    Raises:
        StageFailure: the machines did not meet.
        Interrupted: SIGTERM or SIGINT.
    """
    with environment({PARENT_VARIABLE: str(os.getpid())}), _quiet():
        launch = elastic_launch(_config(options, count, directory), sys.executable)
        try:
            launch("-P", "-m", "grao_pipeline", *command)
        except ChildFailedError as error:
            killed = [end for end in error.failures.values() if end.exitcode < 0 and end.exitcode != -signal.SIGTERM]
            end = (killed or [error.get_first_failure()[1]])[0]
            return Failure(end.local_rank, end.exitcode)
        except RendezvousError as error:
            raise StageFailure(
                f"The {options.nodes} machines did not meet at {options.rendezvous} ({error}). Every one runs this "
                "command with the same --nodes and --rendezvous, a port that is free on its host and open to others."
            ) from error
        except SignalException as stop:
            raise Interrupted(f"Stopped by {stop.sigval.name}.") from None
    return None


def _config(options: TrainOptions, count: int, directory: Path) -> LaunchConfig:
    endpoint, own_address = _meeting(options.rendezvous) if options.rendezvous else ("localhost:0", None)
    return LaunchConfig(
        min_nodes=options.nodes,
        max_nodes=options.nodes,
        nproc_per_node=count,
        run_id=RUN,
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        rdzv_configs={"read_timeout": MEETING_SECONDS},
        local_addr=own_address,
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(str(directory)),
        signals_to_handle="SIGTERM,SIGINT",
        shutdown_timeout=int(GRACE_SECONDS),
    )


def _meeting(rendezvous: str) -> tuple[str, str | None]:
    """Where the machines meet, as this one reaches it, and its own address on that network. torch knows both by the
    machine's name only, which on many machines stands for no address that others reach.

    Raises:
        UsageError: no such host is known.
    """
    host, _, port = rendezvous.rpartition(":")
    try:
        socket.getaddrinfo(host, int(port))
    except socket.gaierror as error:
        message = f"{rendezvous!r}: this machine knows no host '{host}' ({error.strerror})."
        raise UsageError(message, option="rendezvous") from error
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, int(port)))  # sends nothing
            own_address, meeting_address = probe.getsockname()[0], probe.getpeername()[0]
    except OSError:
        return rendezvous, None  # torch says what is wrong with it
    return f"localhost:{port}" if own_address == meeting_address else rendezvous, own_address


@contextmanager
def _quiet() -> Iterator[None]:
    """The launcher logs what we say in one message."""
    logger = logging.getLogger("torch.distributed.elastic")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
