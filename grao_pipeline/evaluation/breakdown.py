"""`--by FIELD`: the metrics of the prompts with each value of a field of their metadata."""

from collections.abc import Mapping

from grao_pipeline.errors import UsageError
from grao_pipeline.evaluation.estimates import estimates_of
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.record import Breakdown, Metrics
from grao_pipeline.evaluation.scored_prompts import NO_VALUE, ScoredPrompt

MOST_VALUES = 100


def break_down(
    tuned: Mapping[str, ScoredPrompt], base: Mapping[str, ScoredPrompt] | None, options: EvaluateOptions
) -> Breakdown:
    """The metrics by value of every field of `by`.

    Raises:
        UsageError: no prompt has a field, or it has too many values to be a breakdown.
    """
    return {name: _by_value(name, tuned, base, options) for name in options.by}


def _by_value(
    name: str, tuned: Mapping[str, ScoredPrompt], base: Mapping[str, ScoredPrompt] | None, options: EvaluateOptions
) -> dict[str, Metrics]:
    parts: dict[str, dict[str, ScoredPrompt]] = {}
    for prompt_id, prompt in tuned.items():
        parts.setdefault(prompt.metadata[name], {})[prompt_id] = prompt
    if set(parts) == {NO_VALUE}:
        raise UsageError(f"no prompt has the metadata field '{name}'. grao inspect shows the fields.", option="by")
    if len(parts) > MOST_VALUES:
        raise UsageError(
            f"the metadata field '{name}' has {len(parts)} values; at most {MOST_VALUES} can be told apart. Choose a "
            "field that few values share.",
            option="by",
        )
    return {value: estimates_of(parts[value], base, options) for value in sorted(parts)}
