"""What a stage is: the record that a command, a section of the rounds' YAML, help, plan and status follow from."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grao_pipeline.options import StageOptions
    from grao_pipeline.storage.manifest import Provenance
    from grao_pipeline.storage.places import Place

    Identity = Callable[[Sequence[str], StageOptions, Callable[[str], Provenance]], Provenance]
    from grao_pipeline.progress import Progress


@dataclass(frozen=True)
class Stage:
    """What a stage is.

    Example:
        Stage(
            name="score",
            summary="Judge every sample, and the reference, with a reward.",
            inputs=("groups",),
            output="scores",
            options="grao_pipeline.scoring.options:ScoreOptions",
            verb="grao_pipeline.scoring.score:score_groups",
            identity="grao_pipeline.scoring.planning:identity",
        )
    """

    name: str
    """The command `grao NAME` and the section of the rounds' YAML."""
    summary: str
    """One sentence: what it does."""
    inputs: tuple[str, ...]
    """Its positional inputs, in order. In the rounds an input is the latest output of this name."""
    output: str
    """What it writes: a kind of table, `model` or `evaluation`."""
    options: str
    """Its options model; further input tables are fields of it."""
    verb: str
    """`verb(*inputs, out, options, progress) -> summary`."""
    identity: str
    """`identity(inputs, options, provenance_of) -> Provenance`: what its output will be, before anything is made.
    `provenance_of(path)` is the identity of an input."""
    description: str = ""
    """Further help: the inputs, what OUT becomes."""
    examples: tuple[str, ...] = ()
    """Command lines for the help."""
    preview: str | None = None
    """`preview(*inputs, options) -> summary`: what `--dry-run` calls instead, where there is that option."""
    after: str = ""
    """The stage that it follows; for a stage of an installed package. By default it is the last."""
    loop: str | None = "grao_pipeline.rounds.wiring:every_round"
    """How a round runs it; None where it is not part of the rounds."""
    check: str | None = None
    """`check(options)`: refuses what can be refused before anything runs; raises UsageError."""
    check_plugins: str | None = None
    """`check_plugins(options)`: the same for what only the plug-ins that the options name can refuse, which may take
    seconds to import. Only `grao rounds run` and `plan` ask."""
    is_complete: str = "grao_pipeline.storage.verification:is_intact"
    """Whether a directory holds its finished output, undamaged."""
    estimate: str | None = None
    """Size and cost of a task for `grao rounds plan`."""
    devices: str | None = None
    """`devices(options) -> int`: GPUs that one process of it uses; None where it never uses any."""
    per_round: bool = True
    """Its options may change from round to round and be swept."""
    worker: str | None = None
    """Under `executor: resident` the stages of one worker share a process that stays; None: a process for every task,
    for a verb that leaves something behind in its process."""
    takes_accelerator: bool = True
    """It may load a model: what other workers hold on an accelerator makes room."""
    always: bool = False
    """The rounds run it although the YAML has no section for it."""
    repeated: bool = False
    """Its section is a list: a round runs it once for each entry."""
    label: str | None = None
    """`label(options)`: names one entry of a repeated section, e.g. `gsm8k` of task `score-gsm8k`."""
    is_weighted: bool = False
    """Its entries have a key `weight`."""
    is_named: bool = False
    """Its entries have a key `name`, instead of a `label`."""
    decided_by_loop: frozenset[str] = frozenset()
    """Options that its section must not name: the rounds set them."""
    known_by_content: bool = False
    """Later stages know its output by its content, which is not known before it is made."""
    did: tuple[str, ...] = ()
    """Keys of its summary that `grao rounds status` shows."""
    costs: Mapping[str, str] = field(default_factory=dict)
    """Name of a cost → the key of its summary that holds it."""

    @property
    def knows_round(self) -> bool:
        """Whether its options may have schedules and name the round: all that are not the same for every model."""
        return self.per_round or self.repeated

    @property
    def options_model(self) -> "type[StageOptions]":
        model: type[StageOptions] = load_object(self.options)
        return model

    def run(self, inputs: Sequence[str], out: str, options: "StageOptions", progress: "Progress") -> Any:
        """Do its work, or with `--dry-run` preview it; a summary.

        Raises:
            UsageError: an input or `out` is not a path; or an option names a plug-in that does not exist.
        """
        for name, path in zip((*self.inputs, "out"), (*inputs, out), strict=True):
            _check_path(path, name.upper())
        from grao_pipeline.garbage import keep_imports
        from grao_pipeline.plugin_kinds import refuse_unknown_plugins
        from grao_pipeline.plugins import preferred_extra

        refuse_unknown_plugins(options)
        with preferred_extra(self.name):  # the extras are named for the stages
            if self.preview is not None and getattr(options, "dry_run", False):
                return load_object(self.preview)(*inputs, options)
            verb = load_object(self.verb)
            keep_imports()
            return verb(*inputs, out, options, progress)

    def identity_of(
        self, inputs: Sequence[str], options: "StageOptions", provenance_of: "Callable[[str], Provenance]"
    ) -> "Provenance":
        """The identity of its output, from its inputs' identities."""
        identity: Identity = load_object(self.identity)
        return identity(inputs, options, provenance_of)

    def label_of(self, options: "StageOptions") -> str:
        """What names a task of it, for a repeated stage."""
        assert self.label is not None
        return str(load_object(self.label)(options))

    def devices_of(self, options: "StageOptions") -> int:
        """GPUs that one process of it uses with these options."""
        return 0 if self.devices is None else int(load_object(self.devices)(options))

    def has_finished(self, out: "Place") -> bool:
        """Whether `out` holds its finished output."""
        return bool(load_object(self.is_complete)(out))


def _check_path(path: str, name: str) -> None:
    from grao_pipeline.errors import UsageError
    from grao_pipeline.parsing import check_text, shown

    try:
        check_text(path)
    except ValueError as error:
        raise UsageError(f"{name}: {error}, found {shown(path)}.") from None
    if not path:
        raise UsageError(f"{name}: expected a path, found an empty text.")


def load_object(place: str) -> Any:
    """The object at `module:attribute`, a place of ours.

    Raises:
        MissingDependency: its module needs an optional package that is not installed.
    """
    module, _, attribute = place.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        from grao_pipeline.plugins import EXTRAS, missing_dependency

        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        raise missing_dependency(package) from error
