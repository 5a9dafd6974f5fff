"""Several engines on a Ray cluster, one per actor, as one engine.

Actors rather than Ray Data: an engine lives as long as its actor and receives part after part, so it never drains
between them. Groups return to this process as soon as they are finished, and only this process writes the table. Where
an actor dies, only its groups in flight are sampled again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Queue
from typing import TYPE_CHECKING, Any

from grao_pipeline.amounts import some
from grao_pipeline.errors import GraoError, StageFailure, UsageError
from grao_pipeline.garbage import collect_rarely
from grao_pipeline.generation.engines.base import Engine, Precision, Request, SampledGroup, Sampling
from grao_pipeline.generation.engines.make import EngineRecipe
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.ray_cluster import RayCluster

if TYPE_CHECKING:
    from ray.exceptions import RayTaskError

MAX_RESTARTS = 3
"""Actors that may die before the run stops, per actor of `--actors`."""


class EngineActor:
    """An engine on the cluster: `run` streams the groups that it finishes while `feed` gives it further parts."""

    def __init__(self, recipe: EngineRecipe) -> None:
        collect_rarely()  # this process is Ray's
        self._recipe = recipe
        self._precision: Precision | None = None
        self._parts: Queue[Sequence[Request] | None] = Queue(maxsize=1)

    def feed(self, part: Sequence[Request] | None) -> None:
        """Give the engine a part, or None after the last one; returns when there is room for another."""
        self._parts.put(part)

    def run(self, sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Open the engine and sample the parts that it is given."""
        engine = self._recipe.open()
        yield from engine.generate(iter(self._parts.get, None), sampling)
        self._precision = engine.precision()

    def precision(self) -> Precision | None:
        """That of the engine, once it has sampled."""
        return self._precision


@dataclass
class _Actor:
    """An actor, seen from the driver."""

    handle: Any
    groups: Any
    """Streamed references to lists of finished groups."""
    room: Any
    """A reference that becomes ready when the actor has room for another part; None after the last part."""
    parts: dict[int, dict[int, Request]] = field(default_factory=dict)
    """Unfinished requests by part and row."""


@dataclass(frozen=True)
class RayActors:
    """How many actors, and where.

    Example: `RayActors(4, gpus=2)`
    """

    count: int
    gpus: float | None = None
    """Per actor; by default as many as the engine splits the model over, where the cluster has GPUs."""
    address: str | None = None
    """Of the cluster; by default that of RAY_ADDRESS, and without it a Ray that is started on this machine."""


class RayEngine(Engine):
    """Samples with one engine per actor on a Ray cluster. The model must be at the same path on every machine."""

    def __init__(self, recipe: EngineRecipe, actors: RayActors, progress: Progress = SILENT) -> None:
        """Connect to the cluster.

        Raises:
            StageFailure: the cluster cannot be reached.
        """
        self._cluster = RayCluster(actors.address)
        self._ray = self._cluster.ray
        self._progress = progress
        gpus = actors.gpus
        if gpus is None:
            gpus = recipe.options.tensor_parallel_size if self._ray.cluster_resources().get("GPU") else 0
        remote = self._ray.remote(num_cpus=1, num_gpus=gpus, max_concurrency=2)
        self._start_actor: Callable[[], Any] = lambda: remote(EngineActor).remote(recipe)
        self._num_actors = actors.count
        self._actors: list[_Actor] = []
        self._precision: Precision | None = None
        self._restarts_left = MAX_RESTARTS * actors.count

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """A part goes to the first actor with room; the unfinished requests of a dead actor go to the others."""
        source = iter(parts)
        returned: deque[list[Request]] = deque()
        for _ in range(self._num_actors):
            self._start(sampling)
        while self._actors:
            for actor in self._actors_with_room():
                self._feed(actor, returned.popleft() if returned else next(source, None))
            for actor in self._actors_with_news():
                try:
                    groups: list[SampledGroup] = self._ray.get(next(actor.groups))
                except StopIteration:
                    with suppress(self._ray.exceptions.RayActorError):  # its groups are all here
                        self._precision = self._ray.get(actor.handle.precision.remote())
                    self._actors.remove(actor)
                    continue
                except self._ray.exceptions.RayActorError as error:
                    self._remove_dead(actor, returned, error)
                    self._start(sampling)
                    continue
                except self._ray.exceptions.RayTaskError as error:
                    raise _cause(error) from error
                for group in groups:
                    _remove_request(actor.parts, group.key)
                yield groups

    def precision(self) -> Precision | None:
        return self._precision

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._cluster.close()

    def _start(self, sampling: Sampling) -> None:
        handle = self._start_actor()
        groups = handle.run.options(num_returns="streaming").remote(sampling)
        self._actors.append(_Actor(handle, groups, self._ray.put(None)))

    def _actors_with_room(self) -> list[_Actor]:
        by_reference = {actor.room: actor for actor in self._actors if actor.room is not None}
        if not by_reference:
            return []
        ready, _ = self._ray.wait(list(by_reference), num_returns=len(by_reference), timeout=0)
        return [by_reference[reference] for reference in ready]

    def _feed(self, actor: _Actor, part: Sequence[Request] | None) -> None:
        reference = actor.handle.feed.remote(part)
        actor.room = None if part is None else reference
        if part:
            actor.parts[part[0].key[0]] = {request.key[1]: request for request in part}

    def _actors_with_news(self) -> list[_Actor]:
        """Actors that finished groups, ended or died; waits until there is one, or room for another part."""
        streams = {actor.groups: actor for actor in self._actors}
        rooms = [actor.room for actor in self._actors if actor.room is not None]
        ready, _ = self._ray.wait([*streams, *rooms], num_returns=1, fetch_local=False)
        ready, _ = self._ray.wait(list(streams), num_returns=len(streams), timeout=0, fetch_local=False)
        return [streams[stream] for stream in ready]

    def _remove_dead(self, actor: _Actor, returned: "deque[list[Request]]", error: Exception) -> None:
        """Give its unfinished requests back.

        Raises:
            StageFailure: too many actors have died.
        """
        self._actors.remove(actor)
        returned.extend(list(requests.values()) for requests in actor.parts.values())
        if self._restarts_left == 0:
            raise StageFailure(
                f"{MAX_RESTARTS * self._num_actors + 1} Ray actors died; the last one: {_first_line(error)} "
                "Finished groups are saved. Run the same command to resume."
            ) from error
        self._restarts_left -= 1
        unfinished = sum(len(requests) for requests in actor.parts.values())
        again = some(unfinished, "group in flight is", "groups in flight are")
        self._progress.warn(f"An actor died; starting another. {again} sampled again.")


def _remove_request(parts: dict[int, dict[int, Request]], key: tuple[int, int]) -> None:
    part, row = key
    del parts[part][row]
    if not parts[part]:
        del parts[part]


def _cause(error: "RayTaskError") -> Exception:
    """The exception that an engine raised in its actor, without the traceback that Ray adds to the message."""
    cause: Exception = error.cause
    if not isinstance(cause, GraoError):
        return StageFailure(f"An engine failed: {error}")
    if isinstance(cause, UsageError):
        return UsageError(cause.message, option=cause.option)
    return type(cause)(str(cause))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
