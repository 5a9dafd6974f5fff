"""A preference pair → a group of two samples: the chosen answer, and the rejected one."""

from grao_pipeline.importing.columns import METADATA
from grao_pipeline.prompts.base import DroppedRow, Row
from grao_pipeline.prompts.formats import preference

SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_reward", "rejected_reward"),
)
"""Columns with the scores of both answers, as data sets name them."""


def pair_as_group(row: Row) -> dict[str, object]:
    """The row by field, with two responses. Without scores the chosen answer has reward 1, the rejected one 0.

    Raises:
        DroppedRow: as `preference.convert`, or the rejected answer is missing.
    """
    tools = row.get("tools")
    pair = preference.convert({name: value for name, value in row.items() if name != "tools"})
    if pair.rejected is None or pair.reference is None:
        raise DroppedRow("chosen or rejected has no text")
    chosen: dict[str, object] = {"role": "assistant", "content": pair.reference}
    if pair.reference_reasoning is not None:
        chosen["reasoning_content"] = pair.reference_reasoning
    names = next((both for both in SCORES if all(row.get(name) is not None for name in both)), ())
    return {
        "prompt": pair.messages,
        "tools": tools,
        "responses": [chosen, pair.rejected],
        "rewards": [row[name] for name in names] if names else [1.0, 0.0],
        METADATA: {name: value for name, value in pair.metadata.items() if name not in names},
    }
