"""The tasks of the loop, and their outputs as the inputs of later ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.options import StageOptions
from grao_pipeline.storage.manifest import MANIFEST


@dataclass(frozen=True)
class Task:
    """One stage of one round.

    Example: `Task("round-0/train", "train", ("store/generate/1f…", …), Path("store/train/9a…"), options)`
    """

    name: str
    stage: str
    inputs: tuple[str, ...] | None
    """Paths of the stage's positional inputs; None while an input has not been made."""
    out: Path | None
    options: StageOptions
    extra: tuple[str, ...] = ()
    """Further command-line arguments (the scores tables of `advantages`)."""
    done: bool = False

    def arguments(self) -> list[str]:
        """The stage's command line behind `grao`."""
        assert self.inputs is not None, f"{self.name} has no inputs yet"
        return [self.stage, *self.inputs, str(self.out), *self.extra, *self.options.arguments()]


Perform = Callable[[Task], bool]
"""Is told every task in order; makes it, or not; says whether its output is there afterwards."""


Link = Callable[[str, Task], None]
"""Is told every name of a task that is done, after it is."""


@dataclass(frozen=True)
class Table:
    """An output as an input of the next task: where it is and what it is; None where it has not been made.

    A model is one too, its fingerprint that of its training.
    """

    path: str | None
    fingerprint: str | None
    key: str
    """The same for the same work, also where the fingerprint is not known yet."""

    @property
    def known(self) -> bool:
        return self.fingerprint is not None


@dataclass
class Walk:
    """The tasks in order, each once; and what they are of."""

    tasks: list[Task] = field(default_factory=list)
    named: dict[str, Task] = field(default_factory=dict)
    """By every name: a task that several variants share has one for each of them."""
    evaluations: dict[str, Task] = field(default_factory=dict)
    """Of every model: `base`, then `round-0`, …; of a variant `beta=0.25/base` and so on."""


class Tasks:
    """The tasks so far; a task that is met again is not performed again."""

    def __init__(self, store: Path, perform: Perform, link: Link) -> None:
        self.walk = Walk()
        self._store = store
        self._perform = perform
        self._link = link
        self._met: dict[str, Task] = {}

    def out(self, stage: str, found: str) -> Path:
        """Where the output of this work is."""
        return self._store / stage / found

    def run(self, task: Task, key: str) -> bool:
        """Whether a task's output is there, after it was made if it is to be.

        Args:
            key: the same for the same work.
        """
        if key not in self._met:
            self._met[key] = replace(task, done=self._perform(task))
            self.walk.tasks.append(self._met[key])
        found = self.walk.named[task.name] = self._met[key]
        if found.done:
            self._link(task.name, found)
        return found.done

    def table(
        self,
        name: str,
        stage: str,
        inputs: Sequence[Table],
        options: StageOptions,
        found: str,
        extra: tuple[str, ...] = (),
        is_done: Callable[[Path], bool] = lambda out: (out / MANIFEST).is_file(),
    ) -> Table:
        """The output of a task whose inputs are all there."""
        out = self.out(stage, found)
        task = Task(name, stage, tuple(str(table.path) for table in inputs), out, options, extra, is_done(out))
        return Table(str(out), found, found) if self.run(task, found) else Table(None, None, found)

    def waiting(self, name: str, stage: str, inputs: Sequence[Table], options: StageOptions, *others: object) -> Table:
        """The output of a task that waits for an input.

        Args:
            others: what else shapes its output.
        """
        key = fingerprint([stage, [table.key for table in inputs], options.content(), others])
        self.run(Task(name, stage, None, None, options), key)
        return Table(None, None, key)
