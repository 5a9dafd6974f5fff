"""The tasks of the loop, and their outputs as the inputs of later ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import DamagedPart
from grao_pipeline.evaluation.record import METRICS
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.models.manifest import MODEL_MANIFEST
from grao_pipeline.options import StageOptions
from grao_pipeline.rounds.config.run_plan import Settings
from grao_pipeline.schemas import TABLES
from grao_pipeline.stage import Stage
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.input_content import INPUT_CONTENT, has_other_rows
from grao_pipeline.storage.json_record import read_record
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import part_files, read_manifest
from grao_pipeline.storage.places import Place

RECORDS = {"evaluation": METRICS, "model": MODEL_MANIFEST}
"""Kind of an output that is not a table → the file with its provenance."""


@dataclass(frozen=True)
class Task:
    """One stage of one round.

    Example: `Task("round-0/train", stage_named("train"), settings, ("store/generate/1f…", …), Path("store/train/9a…"))`
    """

    name: str
    stage: Stage
    settings: Settings
    inputs: tuple[str, ...] | None = None
    """Places of the stage's positional inputs; None while an input has not been made."""
    out: Place | None = None
    reads: tuple[str, ...] = ()
    """Places of all that it reads: the inputs, and the tables and models that its options name."""
    done: bool = False
    in_background: bool = False
    """Whether it may run while other tasks do; what reads its output waits for it."""

    @property
    def options(self) -> StageOptions:
        return self.settings.options


TaskRunner = Callable[[Task], bool]
"""Is given every task in order; runs it, or not; says whether its output is there afterwards."""


Link = Callable[[str, Task], None]
"""Is given every name of a task that is done, after it is."""


@dataclass(frozen=True)
class Output:
    """The output of a task (or a table or model from outside) as the input of later tasks.

    Attributes:
        place: where it is; None where it has not been made.
        provenance: what it is; None where that is not known yet.
        key: the same for the same work, also where the provenance is not known yet.
    """

    place: str | None
    provenance: Provenance | None
    key: str

    @property
    def is_known(self) -> bool:
        return self.place is not None and self.provenance is not None


@dataclass
class Walk:
    """The tasks in order, each once, and their names."""

    tasks: list[Task] = field(default_factory=list)
    named: dict[str, Task] = field(default_factory=dict)
    """By every name: a task that several variants share has one for each of them."""
    evaluations: dict[str, Task] = field(default_factory=dict)
    """Of every model: `base`, then `round-0`, …; in a variant `beta=0.25/base` and so on."""
    stops: dict[str, str] = field(default_factory=dict)
    """Of every variant that stopped before its last round, why."""
    failures: dict[str, str] = field(default_factory=dict)
    """Of every variant one of whose tasks failed, the message."""


class Tasks:
    """The tasks so far; the same work is run once, however often it is met."""

    def __init__(self, store: Place, run: TaskRunner, link: Link) -> None:
        self.walk = Walk()
        self._store = store
        self._run = run
        self._link = link
        self._met: dict[str, Task] = {}
        self._known: dict[str, Provenance] = {}
        self._in_background = False
        self._changed: set[str] = set()
        """Places of tables that were mended and hold other rows than before."""

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Tasks of this block need not be done before those that follow, unless these read their outputs."""
        self._in_background = True
        try:
            yield
        finally:
            self._in_background = False

    def known(self, place: str, provenance: Provenance) -> Output:
        """A table or model as an input: one from outside, or one that a task made."""
        self._known[place] = provenance
        return Output(place, provenance, provenance.fingerprint)

    def make(
        self,
        name: str,
        stage: Stage,
        inputs: Sequence[Output],
        settings: Settings,
        also_reads: Sequence[Output] = (),
        shaping: object = None,
    ) -> Output:
        """The output of a task, after it was run if it is to be.

        Args:
            also_reads: the tables and models that its options name.
            shaping: what else shapes the output and is not among the options' content.
        """
        reads = [*inputs, *also_reads]
        if settings.waits_for or not all(output.is_known for output in reads):
            keys = [output.key for output in reads]
            key = fingerprint([stage.name, keys, settings.options.content(), shaping, settings.waits_for])
            self.run(Task(name, stage, settings), key)
            return Output(None, None, key)
        places = tuple(str(output.place) for output in inputs)
        provenance = stage.identity_of(places, settings.options, self._known.__getitem__)
        out = self._store / stage.name / provenance.fingerprint
        every_place = tuple(str(output.place) for output in reads)
        is_done = self._changed.isdisjoint(every_place) and stage.has_finished(out)
        is_done = is_done and not _has_other_rows(stage, out, reads)
        task = Task(name, stage, settings, places, out, every_place, is_done)
        if not self.run(task, provenance.fingerprint):
            return Output(None, None, provenance.fingerprint)
        return self.known(str(out), provenance)

    def run(self, task: Task, key: str) -> bool:
        """Whether a task's output is there, after it was run if it is to be.

        Args:
            key: the same for the same work.
        """
        if key not in self._met:
            before = _content(task)
            # What follows is named by content, or asks for it: such a task is waited for.
            may_run_later = self._in_background and before is None and not task.stage.known_by_content
            task = replace(task, in_background=may_run_later)
            self._met[key] = replace(task, done=self._run(task))
            if before is not None and before != _content(task):
                self._changed.add(str(task.out))
            self.walk.tasks.append(self._met[key])
        met = self.walk.named[task.name] = self._met[key]
        if met.done:
            self._link(task.name, met)
        return met.done


def _has_other_rows(stage: Stage, out: Place, reads: Sequence[Output]) -> bool:
    """Whether a finished output was made from rows that were rewritten since, outside of the rounds
    (`grao score --retry-errors`)."""
    details = _details(stage, Directory(out))
    if not details.get(INPUT_CONTENT):
        return False
    tables = [str(read.place) for read in reads if read.provenance is not None and read.provenance.table in TABLES]
    current: dict[str, str] = {}
    for place in tables:
        with suppress(DamagedPart):  # the task that made it mends it
            manifest = read_manifest(Directory(place))
            current |= {} if manifest is None else {manifest.provenance.fingerprint: manifest.content}
    return has_other_rows(details, current)


def _details(stage: Stage, directory: Directory) -> Mapping[str, object]:
    if stage.output in TABLES:
        manifest = read_manifest(directory)
        return {} if manifest is None else manifest.provenance.details
    record = read_record(directory, RECORDS[stage.output]) if stage.output in RECORDS else None
    details: Mapping[str, object] = (record or {}).get("details", {})
    return details


def _content(task: Task) -> str | None:
    """What a finished table holds; None without one. A damaged table that is mended may get other rows; the tables that
    were made from it are then regenerated, too."""
    if task.out is None or task.stage.output not in TABLES:
        return None
    directory = Directory(task.out)
    try:
        manifest = read_manifest(directory)
    except DamagedPart:
        return fingerprint([bytes_checksum(directory.read(name)) for name in part_files(directory)])
    return None if manifest is None else manifest.content
