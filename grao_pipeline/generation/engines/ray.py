"""Several engines on a Ray cluster, one per actor, as one engine.

Actors rather than Ray Data: an engine lives as long as its actor and is fed part after part, so it never drains between
them; and groups come back to this process as they are finished, which alone writes the table. Losing an actor costs
the groups that were in flight in it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

from grao_pipeline.errors import GraoError, StageFailure
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, SampledGroup, Sampling
from grao_pipeline.plugins import load, require
from grao_pipeline.progress import SILENT, Progress

MAX_RESTARTS = 3
"""Actors that may die, for each actor asked for, before the run stops."""


class EngineActor:
    """What runs on the cluster: an engine, fed by one call while another streams what it finishes."""

    def __init__(self, engine: str, options: EngineOptions) -> None:
        self._make_engine: Callable[[], Engine] = lambda: load("engine", engine, ENGINES)(options)
        self._parts: Queue[Sequence[Request] | None] = Queue(maxsize=1)

    def feed(self, part: Sequence[Request] | None) -> None:
        """Give it a part, or None behind the last; returns when there is room for another."""
        self._parts.put(part)

    def run(self, sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Load the engine and sample what is fed."""
        yield from self._make_engine().generate(iter(self._parts.get, None), sampling)


@dataclass
class _Actor:
    """An actor as the driver sees it."""

    handle: Any
    groups: Any
    """Streamed references to lists of finished groups."""
    fed: Any
    """Is ready when the actor takes another part."""
    parts: dict[int, dict[int, Request]] = field(default_factory=dict)
    """What it was given and has not finished: requests by part and row."""


class RayEngine:
    """Samples with `num_actors` engines on a Ray cluster.

    Args:
        engine: name of the engine that every actor holds; the model must be at the same path on every machine.
        address: of the cluster; by default `RAY_ADDRESS`, else a cluster of this machine alone is started.
        gpus: per actor; by default as many as the engine splits the model over, where the cluster has GPUs.

    Raises:
        StageFailure: the cluster cannot be reached.
    """

    def __init__(
        self,
        options: EngineOptions,
        engine: str,
        num_actors: int,
        address: str | None = None,
        gpus: float | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self._ray: Any = require("ray")
        self._progress = progress
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            try:
                self._ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise StageFailure(f"No Ray cluster at {address or 'this machine'}: {error}") from error
        if gpus is None:
            gpus = options.tensor_parallel_size if self._ray.cluster_resources().get("GPU") else 0
        remote = self._ray.remote(num_cpus=1, num_gpus=gpus, max_concurrency=2)
        self._make_actor: Callable[[], Any] = lambda: remote(EngineActor).remote(engine, options)
        self._num_actors = num_actors
        self._actors: list[_Actor] = []
        self._restarts_left = MAX_RESTARTS * num_actors

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """A part goes to the actor that has room first; what a dead actor did not finish goes to the others."""
        source = iter(parts)
        again: deque[list[Request]] = deque()
        for _ in range(self._num_actors):
            self._start(sampling)
        while self._actors:
            for actor in self._ready_to_be_fed():
                self._feed(actor, again.popleft() if again else next(source, None))
            for actor in self._with_news():
                try:
                    groups: list[SampledGroup] = self._ray.get(next(actor.groups))
                except StopIteration:
                    self._actors.remove(actor)
                    continue
                except self._ray.exceptions.RayActorError as error:
                    self._bury(actor, again, error)
                    self._start(sampling)
                    continue
                except self._ray.exceptions.RayTaskError as error:
                    raise _cause(error) from error
                for group in groups:
                    _forget(actor.parts, group.key)
                yield groups

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)
        if self._is_ours:
            self._ray.shutdown()

    def _start(self, sampling: Sampling) -> None:
        handle = self._make_actor()
        groups = handle.run.options(num_returns="streaming").remote(sampling)
        self._actors.append(_Actor(handle, groups, self._ray.put(None)))

    def _ready_to_be_fed(self) -> list[_Actor]:
        by_reference = {actor.fed: actor for actor in self._actors if actor.fed is not None}
        if not by_reference:
            return []
        ready, _ = self._ray.wait(list(by_reference), num_returns=len(by_reference), timeout=0)
        return [by_reference[reference] for reference in ready]

    def _feed(self, actor: _Actor, part: Sequence[Request] | None) -> None:
        reference = actor.handle.feed.remote(part)
        actor.fed = None if part is None else reference
        if part:
            actor.parts[part[0].key[0]] = {request.key[1]: request for request in part}

    def _with_news(self) -> list[_Actor]:
        """Actors that finished groups, ended or died; waits until there is one, or room for another part."""
        streams = {actor.groups: actor for actor in self._actors}
        rooms = [actor.fed for actor in self._actors if actor.fed is not None]
        ready, _ = self._ray.wait([*streams, *rooms], num_returns=1, fetch_local=False)
        ready, _ = self._ray.wait(list(streams), num_returns=len(streams), timeout=0, fetch_local=False)
        return [streams[stream] for stream in ready]

    def _bury(self, actor: _Actor, again: "deque[list[Request]]", error: Exception) -> None:
        self._actors.remove(actor)
        again.extend(list(requests.values()) for requests in actor.parts.values())
        if self._restarts_left == 0:
            raise StageFailure(
                f"Ray actors died {MAX_RESTARTS * self._num_actors + 1} times, the last so: {_first_line(error)} "
                "Finished groups are safe: run the command again."
            ) from error
        self._restarts_left -= 1
        unfinished = sum(len(requests) for requests in actor.parts.values())
        self._progress.warn(f"An actor died; starting another. {unfinished} groups in flight are sampled again.")


def _forget(parts: dict[int, dict[int, Request]], key: tuple[int, int]) -> None:
    part, row = key
    del parts[part][row]
    if not parts[part]:
        del parts[part]


def _cause(error: Any) -> Exception:
    """What an engine raised in its actor, without the traceback that Ray puts into the message."""
    cause: Exception = error.cause
    return type(cause)(str(cause)) if isinstance(cause, GraoError) else StageFailure(f"An engine failed: {error}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
