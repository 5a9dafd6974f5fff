"""The Reward seam: a batch of sequences in, one judgement per sequence out."""

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from grao_pipeline.arguments import NoArguments, PluginArguments
from grao_pipeline.errors import UsageError
from grao_pipeline.messages import Message
from grao_pipeline.options import Device
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.schemas import LARGEST_FLOAT32, STATUSES, Status
from grao_pipeline.scoring.reward_number import finite_float32
from grao_pipeline.scoring.steps import Step, read_steps

TRAITS = ("reads_group", "verifies")
TAKEN_NAMES = ("reward", "name", "when", "missing")
"""Options of `grao score` that are recorded next to a reward's identity."""
REFERENCE_FIELD = "reference"
"""Stands for the reference among the fields of a row."""


@dataclass(frozen=True)
class Candidate:
    """A sequence to be judged: a sample, or the reference in a sample's place.

    Example: `Candidate([{"role": "user", "content": "2+2?"}], "4", reference="four", metadata={"answer": "4"})`
    """

    messages: Sequence[Message]
    completion: str
    reference: str | None
    metadata: Mapping[str, Any]
    others: Sequence[str] = ()
    """The other samples of its group, in their order; for rewards with the trait `reads_group`."""
    finish_reason: str = "stop"
    """Why its sampling ended: `stop`, or `length` where it was cut off. A reference is complete: `stop`."""

    @property
    def was_cut(self) -> bool:
        """Whether the text was cut off, so that what it ends in need not be its answer."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Judgement:
    """A reward, or the reason why it is missing.

    Example: `Judgement(1.0, "ok", "final number 18")`, `Judgement(None, "error", "metadata has no 'answer'")`
    """

    reward: float | None
    status: Status = "ok"
    """A reward is present exactly where the status is `ok`."""
    detail: str | None = None
    tokens: int = 0
    """Tokens that a judge read and wrote for this judgement."""
    steps: Sequence[Step] = ()
    """The steps of the text, in order; what `gigpo` and other `--token-weights` read."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", read_steps(self.steps))
        if (self.reward is not None) != (self.status == "ok"):
            raise ValueError(f"{self}: a reward is present exactly where the status is 'ok'")
        if self.status not in STATUSES:
            raise ValueError(f"status={self.status!r}: expected one of {', '.join(STATUSES)}")
        if self.reward is not None and not (
            isinstance(self.reward, int | float) and abs(self.reward) <= LARGEST_FLOAT32
        ):
            raise ValueError(f"{self.reward!r} is not a finite (float32) number; Judgement.of(…) makes it an error")
        if self.detail is not None:  # of a model or an exception: it may hold what no file can
            object.__setattr__(self, "detail", str(self.detail).encode("utf-8", "replace").decode())

    @staticmethod
    def of(value: object, detail: str | None = None, steps: object = ()) -> "Judgement":
        """`value` as a judgement. It may be a Python, numpy or torch number; anything that is not a finite float32
        becomes an error, never a made-up reward. None says that the reward is not meant for the row.

        Args:
            steps: as `read_steps` reads them; wrong ones are an error, too.
        """
        if value is None:
            return Judgement(None, "not_applicable", detail or "the reward returned None")
        number = finite_float32(value)
        if number is None:
            return Judgement(None, "error", f"the reward is {reprlib.repr(value)}, not a finite (float32) number")
        try:
            return Judgement(number, "ok", detail, steps=read_steps(steps))
        except ValueError as error:
            return Judgement(None, "error", str(error))


@dataclass(frozen=True)
class RewardRuntime:
    """How a reward runs; does not change any score."""

    batch_size: int = 32
    device: Device = "auto"
    progress: Progress = SILENT
    """Told what people should know while it works."""
    batches: str | None = None
    """A judge on a server asks through batches, whose records are kept in this directory; None: it asks directly."""


class Reward(ABC):
    """Judges candidates.

    A new reward is one class in one file and one line in `REWARDS`. Its construction must be cheap: models are loaded
    when `score` is first called.

    Example:
        class Polite(Reward):
            class Arguments(PluginArguments):
                word: str = argument("please", "Word that a polite answer contains.")

            arguments: Arguments

            def score(self, candidates):
                return [Judgement.of(self.arguments.word in candidate.completion) for candidate in candidates]

    Raises:
        UsageError: a subclass sets a trait that does not exist (a public attribute that is True or False), or declares
            an argument whose name is taken.
    """

    Arguments: ClassVar[type[PluginArguments]] = NoArguments
    """Model of the arguments that are given as `--reward-arg key=value`."""
    reads_group: ClassVar[bool] = False
    """Trait: `Candidate.others` is filled, and a judgement is cached for exactly these other samples."""
    verifies: ClassVar[bool] = False
    """Trait: 1 says that an answer is right, so that a reference with less contradicts the expected answer."""

    def __init__(self, arguments: PluginArguments, runtime: RewardRuntime) -> None:
        self.arguments = arguments
        self.runtime = runtime

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        where = f"{cls.__module__}:{cls.__qualname__}"
        for name, value in vars(cls).items():
            if isinstance(value, bool) and not name.startswith("_") and name not in TRAITS:
                raise UsageError(
                    f"{where} sets the unknown trait '{name}'. Known: {', '.join(TRAITS)}.", option="reward"
                )
        for name in TAKEN_NAMES:
            if name in cls.Arguments.model_fields:
                raise UsageError(f"{where}: an argument cannot be called '{name}'. Rename it.", option="reward")

    @classmethod
    def arguments_model(cls, given: Mapping[str, str]) -> type[PluginArguments]:
        """The model that `given` is parsed with: `Arguments`, unless one argument decides which others exist."""
        return cls.Arguments

    def identity(self) -> Mapping[str, object]:
        """Everything that determines the judgements (arguments, model fingerprints), as JSON. It is part of the
        fingerprint of the scores; the source code of your own class is added to it.
        """
        return self.arguments.model_dump(mode="json")

    @property
    def plugin(self) -> Callable[..., object]:
        """The class or function whose source is part of the identity."""
        return type(self)

    def fields(self) -> Sequence[str]:
        """The fields of the metadata without which nothing can be judged; `reference` stands for the reference. With
        `--missing skip` a row that lacks one is skipped. By default the argument `field`, where there is one.
        """
        field = getattr(self.arguments, "field", None)
        return (field,) if isinstance(field, str) else ()

    def verdicts(self, judgement: Judgement) -> Mapping[str, int]:
        """What a judgement adds to the counts `verdicts` of the summary, e.g. `{"win": 1}`. It may be a stored one."""
        return {}

    @abstractmethod
    def score(self, candidates: Sequence[Candidate]) -> Iterable[Judgement]:
        """One judgement per candidate, in order. A candidate that cannot be judged gets `reward=None` and a status.

        Expensive rewards should yield each judgement as soon as it is ready: yielded judgements are cached and survive
        a crash.
        """

    def num_devices(self) -> int:
        """GPUs that one process of it computes on, where there are any; 0: it needs none."""
        return 0

    def takes_batches(self) -> bool:
        """Whether `ask_ahead` asks a server through batches."""
        return False

    def ask_ahead(self, candidates: Sequence[Candidate]) -> None:
        """Get the replies about all candidates that `score` will be given, at once, where it takes batches."""
        raise NotImplementedError

    def stored(self) -> None:
        """All its judgements are stored: forget what is remembered for a run that resumes."""
        return

    def remarks(self) -> list[str]:
        """What people should know of how it judged, a sentence each; asked for after the last `score`."""
        return []

    def close(self) -> None:
        """Free devices and end processes. Called once, after the last `score`."""
        return


class FakeReward(Reward):
    """A public fake for tests: rewards the number of characters, and counts the candidates that it was given."""

    def __init__(self, arguments: PluginArguments | None = None, runtime: RewardRuntime | None = None) -> None:
        super().__init__(arguments or NoArguments(), runtime or RewardRuntime())
        self.num_scored = 0

    def identity(self) -> Mapping[str, object]:
        return {"fake": 1}

    def score(self, candidates: Sequence[Candidate]) -> Iterable[Judgement]:
        self.num_scored += len(candidates)
        return [Judgement.of(len(candidate.completion)) for candidate in candidates]
