"""Commands of `grao` on a Ray cluster whose machines share this one's files and working directory."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.children import RESUME, how_it_ended, start_child, stop_child
from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.free_port import free_port
from grao_pipeline.json_text import parse_json
from grao_pipeline.options import StageOptions, YamlSection
from grao_pipeline.options_file import write_options_file
from grao_pipeline.processes import GRACE_SECONDS, StopSignals
from grao_pipeline.ray_cluster import RayCluster

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 20.0
"""So long commands wait for machines before that is said."""


@dataclass(frozen=True)
class CommandEnd:
    """How a command ended."""

    exit_code: int
    stdout: bytes


class RayCommandGroup:
    """Commands that run at the same time and end together, each the child of an actor that holds its resources. What
    they write to standard error appears here. When this process dies, so do they.

    Args:
        count: of the commands.
        reserved: what each of them reserves: CPU, GPU, and custom resources by their names.
    """

    def __init__(self, cluster: RayCluster, count: int, reserved: Mapping[str, float]) -> None:
        self._ray = cluster.ray
        self._reserved = {name: amount for name, amount in reserved.items() if amount}
        self._group = self._ray.util.placement_group([self._reserved or {"CPU": 0.001}] * count, strategy="SPREAD")
        self._actors: list[Any] = []
        self._count = count

    def run(self, commands: Sequence[Sequence[str]], signals: StopSignals) -> list[CommandEnd]:
        """Run `grao ARGUMENTS` for each of the commands, until all have ended well, or one has not: the others are
        stopped then.

        Raises:
            Interrupted: a stop signal came; all were asked once to stop, and waited for.
            StageFailure: the cluster lost one.
        """
        try:
            return next(signals.interruptible(self._run(commands)))
        except Interrupted:
            self._stop()
            raise
        except self._ray.exceptions.RayError as error:
            raise StageFailure(f"The Ray cluster lost a command: {error}") from error

    def meeting_place(self, signals: StopSignals) -> str:
        """HOST:PORT of the machine of the first command, for processes that must find each other."""

        def ask() -> Iterator[str]:
            self._start_actors()
            yield self._ray.get(self._actors[0].meeting_place.remote())

        return next(signals.interruptible(ask()))

    def close(self) -> None:
        """Give back what is reserved."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.util.remove_placement_group(self._group)

    def _start_actors(self) -> None:
        """Wait for the machines."""
        if self._actors:
            return
        if not self._group.wait(PATIENCE_SECONDS):
            sys.stderr.write(
                f"Waiting for {self._count} × {self._reserved}; the cluster has {self._ray.cluster_resources()}.\n"
            )
            self._ray.get(self._group.ready())
        strategy = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        custom = {name: amount for name, amount in self._reserved.items() if name not in ("CPU", "GPU")}
        for number in range(self._count):
            remote = self._ray.remote(
                num_cpus=self._reserved.get("CPU", 0),
                num_gpus=self._reserved.get("GPU", 0),
                resources=custom,
                max_restarts=0,
                scheduling_strategy=strategy(self._group, placement_group_bundle_index=number),
            )
            self._actors.append(remote(CommandActor).remote(os.getcwd()))

    def _run(self, commands: Sequence[Sequence[str]]) -> Iterator[list[CommandEnd]]:
        self._start_actors()
        for actor, arguments in zip(self._actors, commands, strict=True):
            actor.start.remote(list(arguments))
        news = {actor.news.remote(): number for number, actor in enumerate(self._actors)}
        ends: dict[int, CommandEnd] = {}
        while news:
            (reference,), _ = self._ray.wait(list(news))
            number = news.pop(reference)
            text, exit_code, stdout = self._ray.get(reference)
            _show(text)
            if exit_code is None:
                news[self._actors[number].news.remote()] = number
                continue
            ends[number] = CommandEnd(exit_code, stdout)
            if exit_code:
                self._stop(number)
                break
        yield [ends.get(number, CommandEnd(-1, b"")) for number in range(self._count)]

    def _stop(self, except_for: int | None = None) -> None:
        actors = [actor for number, actor in enumerate(self._actors) if number != except_for]
        for stopping in [actor.stop.remote() for actor in actors]:
            with suppress(self._ray.exceptions.RayError):  # it has not started, or is gone already
                _show(self._ray.get(stopping, timeout=GRACE_SECONDS + 5))


class CommandActor:
    """Holds the resources of a command and runs it as a child; the methods are called one after another."""

    def __init__(self, directory: str) -> None:
        os.chdir(directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._stdout, self._stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._told = 0

    def meeting_place(self) -> str:
        """HOST:PORT of this machine; nobody listens there yet."""
        from ray.util import get_node_ip_address

        return f"{get_node_ip_address()}:{free_port()}"

    def start(self, arguments: list[str]) -> None:
        """Start `grao ARGUMENTS`."""
        self._process = start_child(arguments, self._stdout.fileno(), self._stderr.fileno())

    def news(self) -> tuple[bytes, int | None, bytes]:
        """(new standard error, exit code or None, standard output once it has ended)."""
        assert self._process is not None
        try:
            exit_code: int | None = self._process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            exit_code = None
        return self._new_text(), exit_code, b"" if exit_code is None else _contents(self._stdout.fileno(), 0)

    def stop(self) -> bytes:
        """Stop the command; its last words."""
        if self._process is not None:
            stop_child(self._process)
        return self._new_text()

    def _new_text(self) -> bytes:
        text = _contents(self._stderr.fileno(), self._told)
        self._told += len(text)
        return text


def run_stage_on_ray(
    stage: str,
    inputs: Sequence[str],
    out: str,
    options: Sequence[StageOptions],
    *,
    address: str | None,
    gpus: float = 0.0,
    gpus_are_needed: bool = True,
) -> list[dict[str, Any]]:
    """Run `grao STAGE INPUTS OUT` on a Ray cluster, once with each of these options, at the same time; the summaries.

    Args:
        address: of the cluster; see `RayCluster`.
        gpus: that each of them reserves, next to a CPU.
        gpus_are_needed: False where they do without on a cluster that has none.

    Raises:
        MissingDependency: Ray is not installed.
        StageFailure: the cluster cannot be reached, or a command failed; its own message is on standard error.
        Interrupted: SIGTERM or SIGINT; what is finished is kept.
    """
    directory = Path(out).absolute().parent if "://" not in out else Path.cwd()
    with (
        StopSignals() as signals,
        closing(RayCluster(address)) as cluster,
        closing(RayCommandGroup(cluster, len(options), _reserved(cluster, gpus, gpus_are_needed))) as group,
        tempfile.TemporaryDirectory(prefix=f".grao-{stage}-", dir=_existing(directory)) as shared,
    ):
        commands = []
        for number, of_command in enumerate(options):
            file = Path(shared, f"{number}.json")
            write_options_file(file, of_command, YamlSection("", str(file)))
            commands.append([stage, *inputs, out, "--options", str(file), "--json"])
        try:
            ends = group.run(commands, signals)
        except Interrupted as stop:
            raise Interrupted(f"{stop} {RESUME}") from None
    for number, end in enumerate(ends):
        if end.exit_code > 0:
            which = f"Process {number + 1} of {len(ends)} on the Ray cluster"
            raise StageFailure(f"{how_it_ended(which, end.exit_code)} {RESUME}")
    if any(end.exit_code for end in ends):
        raise StageFailure(f"A process on the Ray cluster was killed: out of memory, or by hand. {RESUME}")
    return [parse_json(end.stdout) for end in ends]


def _reserved(cluster: RayCluster, gpus: float, are_needed: bool) -> dict[str, float]:
    has_gpus = are_needed or bool(cluster.ray.cluster_resources().get("GPU"))
    return {"CPU": 1.0, "GPU": gpus if has_gpus else 0.0}


def _existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.is_dir())


def _show(text: bytes) -> None:
    sys.stderr.write(text.decode(errors="replace"))
    sys.stderr.flush()


def _contents(file: int, start: int) -> bytes:
    """A file from `start` on. The child writes at the offset that it shares with us: it must not move."""
    return os.pread(file, os.fstat(file).st_size - start, start)
