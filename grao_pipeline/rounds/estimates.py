"""How large the tasks of a plan are, how far they are, and what is left of them to do.

The record of a stage names its function here (`Stage.estimate`). Tasks are looked at in order; one that waits is taken
to be as large as the task of its name in an earlier round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.stored import working_copy
from grao_pipeline.rounds.seen_lengths import Lengths, seen_lengths
from grao_pipeline.rounds.tasks import Task
from grao_pipeline.scoring.judges.call_limits import calls_per_sequence
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.stage import load_object
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import part_files
from grao_pipeline.storage.places import Place, Url
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.options import TrainOptions


@dataclass(frozen=True)
class Estimate:
    """Size and cost of a task.

    Attributes:
        parts: of a table its parts, of a training its steps; None where that is not known yet.
        tokens: that are still to be sampled or trained on.
        basis: of the tokens: `seen` (mean lengths of groups in the store) or `bound` (max_new_tokens).
        judge_calls: at most this many questions to a judge; sequences in the cache of judgements cost none.
    """

    parts_done: int | None = None
    parts: int | None = None
    tokens: int | None = None
    basis: str | None = None
    judge_calls: int | None = None


@dataclass(frozen=True)
class Size:
    """Of a groups table.

    Attributes:
        samples: of a group, on average.
        new: samples of the table that the task draws itself.
    """

    groups: int
    samples: float
    parts: int
    new: float


@dataclass
class Sizes:
    """What is known of the tables of a plan, in the order of its tasks."""

    store: Place
    max_new_tokens: int = 0
    by_place: dict[str, Size] = field(default_factory=dict)
    by_name: dict[str, tuple[Size, ...]] = field(default_factory=dict)
    """Of the last task of a name without its round, e.g. `generate`, `score-gsm8k`."""
    lengths: dict[int, Lengths | None] = field(default_factory=dict)

    def of(self, task: Task) -> Sequence[Size]:
        """Sizes of the groups tables that a task reads; of a task that waits, those of its like."""
        name = task.name.rpartition("/")[2]
        if task.inputs is not None:
            self.by_name[name] = tuple(self.by_place[place] for place in task.reads if place in self.by_place)
        return self.by_name.get(name, ())

    def seen(self, max_new_tokens: int) -> Lengths | None:
        """Mean lengths of groups in the store that were sampled with this limit."""
        if max_new_tokens not in self.lengths:
            self.lengths[max_new_tokens] = seen_lengths(self.store / "generate", max_new_tokens)
        return self.lengths[max_new_tokens]


def estimate_of(task: Task, sizes: Sizes) -> Estimate:
    """Size and cost of a task; empty where its stage has no estimate or nothing is known."""
    if task.stage.estimate is None:
        return Estimate()
    estimate: Estimate = load_object(task.stage.estimate)(task, sizes)
    return estimate


def sampling(task: Task, sizes: Sizes) -> Estimate:
    """New samples × mean length of the completions in the store, or max_new_tokens without them."""
    options = task.options
    assert isinstance(options, GenerateOptions)
    name = task.name.rpartition("/")[2]
    if name == task.stage.name:  # not an evaluation's
        sizes.max_new_tokens = options.max_new_tokens
    if task.inputs is not None:
        size = _size_of_groups(task.inputs[0], options, sizes)
        sizes.by_place[str(task.out)] = size
        sizes.by_name[name] = (size,)
    if name not in sizes.by_name:
        return Estimate()
    (size,) = sizes.by_name[name]
    done, left = _parts(task, size)
    lengths = sizes.seen(options.max_new_tokens)
    length = lengths.completion if lengths else options.max_new_tokens
    tokens = round(left * size.new * length)
    return Estimate(done, size.parts, tokens, "seen" if lengths else "bound")


def _size_of_groups(prompts_place: str, options: GenerateOptions, sizes: Sizes) -> Size:
    prompts = open_table(prompts_place, "prompts")
    rows = prompts.num_rows
    parts = -(-rows // options.prompts_per_part)
    earlier = sizes.by_place.get(options.extend or "")
    if earlier is None:
        return Size(rows, options.samples, parts, rows * options.samples)
    new = pc.sum(prompts.arrow(["samples"])["samples"]).as_py() or 0
    return Size(rows, (earlier.groups * earlier.samples + new) / max(rows, 1), parts, new)


def scoring(task: Task, sizes: Sizes) -> Estimate:
    """Sequences × questions of a judge; the reference is judged, too."""
    options, read = task.options, sizes.of(task)
    assert isinstance(options, ScoreOptions)
    if not read:
        return Estimate()
    size = read[0]
    done, left = _parts(task, size)
    sequences = size.groups * (size.samples + 1)
    return Estimate(
        done, size.parts, judge_calls=round(left * sequences * calls_per_sequence(options, round(size.samples)))
    )


def table(task: Task, sizes: Sizes) -> Estimate:
    """Parts alone: as many as the groups have."""
    read = sizes.of(task)
    return Estimate(_parts(task, read[0])[0], read[0].parts) if read else Estimate()


def training(task: Task, sizes: Sizes) -> Estimate:
    """Steps, and tokens by mean lengths of completions and references, each with its prompt, as a training counts them;
    masked groups are counted, too. Without lengths of prompts nothing is said of tokens.
    """
    options, read = task.options, sizes.of(task)
    assert isinstance(options, TrainOptions)
    if not read:
        return Estimate()
    groups = sum(size.groups for size in read)
    steps = options.epochs * -(-groups // options.groups_per_step)
    total = min(steps, options.max_steps or steps)
    done = total if task.done else min(total, steps_made(task.out))
    lengths = sizes.seen(sizes.max_new_tokens)
    if lengths is None:
        return Estimate(done, total)
    reference = lengths.reference + lengths.references * lengths.prompt
    per_epoch = sum(size.groups * (reference + size.samples * (lengths.completion + lengths.prompt)) for size in read)
    return Estimate(done, total, round(options.epochs * per_epoch * (total - done) / steps), "seen")


def parts_made(out: Place | None) -> int:
    """Committed parts of a table."""
    return 0 if out is None else len([name for name in part_files(Directory(out)) if name.startswith("part-")])


def steps_made(out: Place | None) -> int:
    """Optimizer steps in the newest checkpoint of an unfinished training, which lies on this machine."""
    copy = working_copy(str(out)) if isinstance(out, Url) else out
    checkpoints: list[Path] = [] if copy is None else list(copy.glob("checkpoints/step-*"))
    return max((int(path.stem.removeprefix("step-")) for path in checkpoints), default=0)


def _parts(task: Task, size: Size) -> tuple[int, float]:
    """(parts that are done, share of the parts that is left)."""
    done = size.parts if task.done else parts_made(task.out)
    return done, (size.parts - done) / size.parts
