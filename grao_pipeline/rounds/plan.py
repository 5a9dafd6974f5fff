"""What a configuration's tasks would do and cost, and their commands; nothing is made and no model is loaded."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.rounds.config.compile import RoundsConfig
from grao_pipeline.rounds.lengths import Lengths, seen_lengths
from grao_pipeline.rounds.progress import parts_made, steps_made
from grao_pipeline.rounds.walk import Task, Walk, walk
from grao_pipeline.scoring.judges.call_limits import calls_per_sequence
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.options import TrainOptions

OPAQUE = ("train", "prompts", "curriculum")
"""Stages whose output is known by its content, which is not known before it is made; that of the others is known by
the fingerprints of its inputs."""


@dataclass(frozen=True)
class PlannedTask:
    """One task of a plan.

    Attributes:
        state: `done`, `to do` (its inputs are there), or `waits` (for an earlier task).
        parts: of a table its parts, of a training its steps; None where that is not known yet.
        tokens: estimate of the tokens that are still to be sampled or trained on.
        basis: what the estimate stands on: `seen` (mean lengths of groups in the store), or `bound` (max_new_tokens,
            without prompts).
        judge_calls: at most so many questions to a judge; sequences of the cache of judgements cost none.
        command: None where an input's place is not known before a model is trained.
    """

    name: str
    state: str
    out: str | None
    parts_done: int | None = None
    parts: int | None = None
    tokens: int | None = None
    basis: str | None = None
    judge_calls: int | None = None
    command: str | None = None


def plan_tasks(config: RoundsConfig) -> tuple[Walk, list[tuple[Task, PlannedTask]]]:
    """Every task of a configuration, in order, and the walk along them."""
    forecast = Forecast()
    walked = walk(config, forecast)
    estimates = _Estimates(config.store)
    return walked, [(task, estimates.of(task, forecast.state(task))) for task in forecast.tasks]


class Forecast:
    """A `Perform` that makes nothing, but lets the walk go on as if it had, as far as outputs can be named ahead."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self._pending: set[str] = set()

    def __call__(self, task: Task) -> bool:
        self.tasks.append(task)
        if not task.done and task.out is not None:
            self._pending.add(str(task.out))
        return task.done or (task.inputs is not None and task.stage not in OPAQUE)

    def state(self, task: Task) -> str:
        if task.done:
            return "done"
        if task.inputs is None:
            return "waits"
        given = [word.partition("=")[0] for word in (*task.inputs, *task.extra, *task.options.arguments())]
        return "waits" if self._pending.intersection(given) else "to do"


@dataclass(frozen=True)
class _Size:
    groups: int
    samples: int
    parts: int


class _Estimates:
    """Sizes and costs, in the order of the tasks. A task that waits is as large as its like in an earlier round."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._groups: dict[str, _Size] = {}
        self._like: dict[str, tuple[_Size, ...]] = {}
        self._lengths: dict[int, Lengths | None] = {}
        self._max_new_tokens = 0

    def of(self, task: Task, state: str) -> PlannedTask:
        sizes = self._sizes(task)
        out = str(task.out) if task.out else None
        command = shlex.join(["grao", *task.arguments()]) if task.inputs is not None else None
        planned = PlannedTask(task.name, state, out, command=command)
        options = task.options
        if not sizes:
            return planned
        if isinstance(options, TrainOptions):
            return self._train(task, planned, options, sizes)
        parts = sizes[0].parts
        done = parts if task.done else parts_made(task.out)
        left = (parts - done) / parts
        changes: dict[str, int | str] = {"parts": parts, "parts_done": done}
        sequences = sizes[0].groups * (sizes[0].samples + 1)  # the reference is judged, too
        if isinstance(options, GenerateOptions):
            lengths = self._seen(options.max_new_tokens)
            length = lengths.completion if lengths else options.max_new_tokens
            changes["tokens"] = round(left * sizes[0].groups * sizes[0].samples * length)
            changes["basis"] = "seen" if lengths else "bound"
        elif isinstance(options, ScoreOptions):
            changes["judge_calls"] = round(left * sequences * calls_per_sequence(options, sizes[0].samples))
        return _with(planned, **changes)

    def _train(self, task: Task, planned: PlannedTask, options: TrainOptions, sizes: tuple[_Size, ...]) -> PlannedTask:
        groups = sum(size.groups for size in sizes)
        steps = options.epochs * -(-groups // options.groups_per_step)
        total = min(steps, options.max_steps or steps)
        done = total if task.done else min(total, steps_made(task.out))
        lengths = self._seen(self._max_new_tokens)
        if lengths:
            each = sum(s.groups * (lengths.prompt + lengths.reference + s.samples * lengths.completion) for s in sizes)
        else:
            each = float(sum(size.groups * size.samples * self._max_new_tokens for size in sizes))
        tokens = round(options.epochs * each * (total - done) / steps)
        return _with(planned, parts=total, parts_done=done, tokens=tokens, basis="seen" if lengths else "bound")

    def _sizes(self, task: Task) -> tuple[_Size, ...]:
        """Of the groups that a task makes, or of those that it reads."""
        like = task.name.rpartition("/")[2]
        if isinstance(task.options, GenerateOptions) and not task.name.endswith("evaluate-generate"):
            self._max_new_tokens = task.options.max_new_tokens
        if task.inputs is not None and task.stage in ("generate", "score", "advantages", "train"):
            if isinstance(task.options, GenerateOptions):
                rows, size = open_table(task.inputs[0], "prompts").num_rows, task.options.prompts_per_part
                self._groups[str(task.out)] = _Size(rows, task.options.samples, -(-rows // size))
                self._like[like] = (self._groups[str(task.out)],)
            else:
                given = (*task.inputs, *task.extra)
                self._like[like] = tuple(self._groups[path] for path in given if path in self._groups)
        return self._like.get(like, ())

    def _seen(self, max_new_tokens: int) -> Lengths | None:
        if max_new_tokens not in self._lengths:
            self._lengths[max_new_tokens] = seen_lengths(self._store / "generate", max_new_tokens)
        return self._lengths[max_new_tokens]


def _with(planned: PlannedTask, **changes: int | str) -> PlannedTask:
    return PlannedTask(**{**vars(planned), **changes})
