"""The format `ultrafeedback`, of the original data set: an instruction with rated completions."""

from collections.abc import Mapping

from grao_pipeline.parsing import finite_number
from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row, filled, rest
from grao_pipeline.prompts.conversations import text


def convert(row: Row) -> Prompt:
    """The completion with the highest `overall_score` is the reference, the one with the lowest is rejected.

    Of equal scores the first counts; where all are equal there is no rejected answer. Both scores go to the metadata.

    Raises:
        DroppedRow: a value is missing or malformed, or no completion has a score.
    """
    instruction = text(row["instruction"], "instruction")
    rated = _rated(row["completions"])
    best, worst = max(rated, key=lambda pair: pair[1]), min(rated, key=lambda pair: pair[1])
    metadata = rest(row, "instruction", "completions")
    metadata["score_reference"] = best[1]
    rejected = None
    if worst[1] < best[1] and worst[0] != best[0]:
        rejected, metadata["score_rejected"] = worst
    lost = frozenset({"completions between the best and the worst"} if len(rated) > 2 else ())
    return Prompt([{"role": "user", "content": instruction}], filled(best[0]), rejected, metadata, lost=lost)


def _rated(completions: object) -> list[tuple[str, float]]:
    """The completions that have a text and a score."""
    if not isinstance(completions, list):
        raise DroppedRow("completions is missing" if completions is None else "completions is not a list")
    rated = []
    for completion in completions:
        if not isinstance(completion, Mapping):
            raise DroppedRow("completions is not a list of objects with response and overall_score")
        response, score = completion.get("response"), finite_number(completion.get("overall_score"))
        if isinstance(response, str) and response.strip() and score is not None:
            rated.append((response, score))
    if not rated:
        raise DroppedRow("no completion has a response and an overall_score")
    return rated


def fits(sample: Row) -> bool:
    completions = sample.get("completions")
    is_rated = isinstance(completions, list) and any(
        isinstance(completion, Mapping) and {"response", "overall_score"} <= completion.keys()
        for completion in completions
    )
    return "instruction" in sample and is_rated


FORMAT = PromptFormat(
    name="ultrafeedback",
    columns=("instruction", "completions"),
    shape="instruction, completions: a list of {response, overall_score}; best and worst are taken",
    fits=fits,
    convert=convert,
)
