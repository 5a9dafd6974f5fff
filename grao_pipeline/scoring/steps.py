"""Steps of a text: where each ends, its reward, and a key of the state in which it was taken."""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grao_pipeline.scoring.reward_number import finite_float32


@dataclass(frozen=True)
class Step:
    """A step of a text.

    Example: `Step(42, 1.0)`, `Step(42, state="room 3")`
    """

    end: int
    """Number of characters of the text up to its end."""
    reward: float | None = None
    state: str | None = None
    """A key of the state in which it was taken; equal keys are equal states of a prompt."""


def read_steps(values: object) -> tuple[Step, ...]:
    """Steps from a list of `Step`, of `(end, reward)`, `(end, reward, state)`, or of dictionaries with these keys; the
    numbers may be numpy's or torch's.

    Raises:
        ValueError: one is not a step, or ends before the one before it.
    """
    if isinstance(values, tuple) and not values:
        return ()
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"steps must be a list, found {values!r:.80}")
    steps = tuple(_step(value) for value in values)
    last = 0
    for number, step in enumerate(steps):
        if step.end < last:
            raise ValueError(f"step {number} ends at character {step.end}, before {last}")
        last = step.end
    return steps


def steps_text(steps: Sequence[Step]) -> str | None:
    """Steps as JSON, for the cache of judgements; None without any."""
    return json.dumps([[step.end, step.reward, step.state] for step in steps]) if steps else None


def steps_of_text(text: str | None) -> tuple[Step, ...]:
    """The way back."""
    return read_steps(json.loads(text)) if text else ()


def steps_column(
    per_sample: Sequence[Sequence[Step]], starts: Sequence[int | None]
) -> Sequence[Sequence[Mapping[str, object]] | None] | None:
    """The column `steps` of a row of scores, in characters of whole completions; None where no sample has steps.

    Args:
        starts: where in each completion the text begins that was judged; None where it is not a single stretch of it,
            so that its steps have no place.
    """
    column = [
        [{"end": step.end + start, "reward": step.reward, "state": step.state} for step in steps] or None
        if start is not None
        else None
        for steps, start in zip(per_sample, starts, strict=True)
    ]
    return column if any(column) else None


def _step(value: object) -> Step:
    if isinstance(value, Step):
        value = (value.end, value.reward, value.state)
    if isinstance(value, Mapping):
        unknown = sorted(set(map(str, value)) - {"end", "reward", "state"})
        if unknown or "end" not in value:
            raise ValueError(f"a step has the keys end, reward and state, found {value!r:.80}")
        value = (value["end"], value.get("reward"), value.get("state"))
    if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= 3:
        raise ValueError(f"a step is (end, reward, state), found {value!r:.80}")
    end, reward, state = (*value, None, None)[:3]
    place, number = _whole_number(end), finite_float32(reward)
    if place is None or (number is None) != (reward is None):
        raise ValueError(f"a step ends at a whole number and has a finite reward or none, found {value!r:.80}")
    return Step(place, number, None if state is None else str(state))


def _whole_number(value: Any) -> int | None:
    """That of Python, numpy or torch; else None."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
