"""Commands on a Ray cluster whose machines share this one's files and working directory."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from grao_pipeline.children import start_child, stop_child
from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.processes import GRACE_SECONDS, StopSignals
from grao_pipeline.ray_cluster import RayCluster
from grao_pipeline.rounds.executors.base import Result, StageResources

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 20.0
"""So long a command waits for a machine before that is said."""


class RayCommands:
    """Each command is a child of an actor that holds the stage's resources; when this process dies, so do both.

    The cluster is the one of RAY_ADDRESS, or a Ray on this machine.

    Raises:
        MissingDependency: Ray is not installed.
        StageFailure: the cluster cannot be reached.
    """

    def __init__(self) -> None:
        self._cluster = RayCluster()
        self._ray = self._cluster.ray

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        remote = self._ray.remote(
            num_cpus=resources.num_cpus, num_gpus=resources.num_gpus, resources=resources.resources, max_restarts=0
        )
        actor = remote(StageActor).remote(arguments, os.getcwd())
        try:
            return next(signals.interruptible(self._follow(actor, resources)))
        except Interrupted:
            self._stop(actor)
            raise
        except self._ray.exceptions.RayError as error:
            raise StageFailure(f"The Ray cluster lost the command: {error}") from error
        finally:
            self._ray.kill(actor)

    def close(self) -> None:
        self._cluster.close()

    def _follow(self, actor: Any, resources: StageResources) -> Iterator[Result]:
        """Pass the command's standard error on until it ends."""
        first = actor.news.remote()
        ready, _ = self._ray.wait([first], timeout=PATIENCE_SECONDS)
        if not ready:
            sys.stderr.write(
                f"Waiting for a machine with {resources.model_dump()}; "
                f"the cluster has {self._ray.cluster_resources()}.\n"
            )
        news = first
        while True:
            text, exit_code, stdout = self._ray.get(news)
            sys.stderr.write(text.decode(errors="replace"))
            sys.stderr.flush()
            if exit_code is not None:
                yield Result(exit_code, stdout)
                return
            news = actor.news.remote()

    def _stop(self, actor: Any) -> None:
        try:
            text = self._ray.get(actor.stop.remote(), timeout=GRACE_SECONDS + 5)
            sys.stderr.write(text.decode(errors="replace"))
        except self._ray.exceptions.RayError:
            pass  # it has not started, or is gone already


class StageActor:
    """Holds a stage's resources and runs its command as a child; the methods are called one after another."""

    def __init__(self, arguments: list[str], directory: str) -> None:
        os.chdir(directory)
        self._stdout, self._stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._process = start_child(arguments, self._stdout.fileno(), self._stderr.fileno())
        self._told = 0

    def news(self) -> tuple[bytes, int | None, bytes]:
        """(new standard error, exit code or None, standard output once it has ended)."""
        try:
            exit_code: int | None = self._process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            exit_code = None
        return self._new_text(), exit_code, b"" if exit_code is None else _contents(self._stdout.fileno(), 0)

    def stop(self) -> bytes:
        """Stop the command; its last words."""
        stop_child(self._process)
        return self._new_text()

    def _new_text(self) -> bytes:
        text = _contents(self._stderr.fileno(), self._told)
        self._told += len(text)
        return text


def _contents(file: int, start: int) -> bytes:
    """A file from `start` on. The child writes at the offset that it shares with us: it must not move."""
    return os.pread(file, os.fstat(file).st_size - start, start)
