"""The Reward seam: a batch of sequences in, one judgement each out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grao_pipeline.errors import UsageError
from grao_pipeline.options import Device

LARGEST_REWARD = 3.4028234e38
"""Rewards are stored as float32."""


@dataclass(frozen=True)
class Candidate:
    """A sequence to be judged: a sample, or the reference in a sample's place.

    Example: `Candidate([{"role": "user", "content": "2+2?"}], "4", reference="four", metadata={"answer": "4"})`
    """

    messages: Sequence[Mapping[str, str]]
    completion: str
    reference: str | None
    metadata: Mapping[str, Any]
    others: Sequence[str] = ()
    """The other samples of its group, in their order; for rewards that declare `reads_group`."""


@dataclass(frozen=True)
class Judgement:
    """A reward, or why there is none.

    Example: `Judgement(1.0, "ok", "final number 18")`, `Judgement(None, "error", "metadata has no 'answer'")`
    """

    reward: float | None
    status: str = "ok"
    """`ok`, `error`, `unparsable` or `truncated`; a reward is present exactly where it is `ok`."""
    detail: str | None = None
    tokens: int = 0
    """What a judge read and wrote for it, in tokens."""

    def __post_init__(self) -> None:
        if (self.reward is not None) != (self.status == "ok"):
            raise ValueError(f"{self}: a reward is present exactly where the status is 'ok'")

    @staticmethod
    def of(value: Any, detail: str | None = None) -> "Judgement":
        """`value` as a judgement; what is not a finite number is an error, never a made-up reward."""
        if isinstance(value, int | float) and abs(value) <= LARGEST_REWARD:
            return Judgement(float(value), "ok", detail)
        return Judgement(None, "error", f"the reward is {value!r}, not a finite (float32) number")


@dataclass(frozen=True)
class RewardRuntime:
    """How to run a reward; shapes no score."""

    batch_size: int = 32
    device: Device = "auto"


class Reward(Protocol):
    """Judges candidates. Constructed as `Reward(arguments, runtime)`; construction must be cheap and load no model.

    A new reward is one class in one file and one line in `REWARDS`.
    """

    def identity(self) -> Mapping[str, Any]:
        """What determines the judgements (arguments, model fingerprints, source code), as JSON; part of the
        fingerprint of the scores."""
        ...

    def score(self, candidates: Sequence[Candidate]) -> Iterable[Judgement]:
        """One judgement per candidate, in order. A candidate that cannot be judged gets `reward=None` and a status.

        A dear reward yields each judgement as soon as it is known: what was yielded is in the cache of judgements and
        survives a crash. A reward that looks at `Candidate.others` has the attribute `reads_group = True`.
        """
        ...


class FakeReward:
    """A public fake for tests: rewards the number of characters and counts what it was asked."""

    def __init__(self, arguments: Mapping[str, str] | None = None, runtime: RewardRuntime | None = None) -> None:
        self.num_scored = 0

    def identity(self) -> Mapping[str, Any]:
        return {"fake": 1}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        self.num_scored += len(candidates)
        return [Judgement.of(len(candidate.completion)) for candidate in candidates]


def take_arguments(reward: str, arguments: Mapping[str, str], **defaults: str | None) -> dict[str, str]:
    """The arguments of a reward over its defaults; a default of None makes an argument required.

    Raises:
        UsageError: an argument is unknown or missing.
    """
    unknown = sorted(set(arguments) - set(defaults))
    if unknown:
        known = ", ".join(sorted(defaults)) or "none"
        raise UsageError(f"--reward-arg {unknown[0]}: reward '{reward}' has no such argument. It has: {known}.")
    merged = {**defaults, **arguments}
    missing = [name for name, value in merged.items() if value is None]
    if missing:
        raise UsageError(f"Reward '{reward}' needs --reward-arg {missing[0]}=…")
    return {name: str(value) for name, value in merged.items()}


def parse_boolean(reward: str, name: str, value: str) -> bool:
    """Raises UsageError where `value` is neither true nor false."""
    if value.lower() not in ("true", "false"):
        raise UsageError(f"--reward-arg {name}={value}: reward '{reward}' needs true or false.")
    return value.lower() == "true"
