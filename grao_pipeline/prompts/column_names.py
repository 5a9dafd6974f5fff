"""Columns whose names differ from those of the formats: in case and spaces, or by a common other name."""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

PROMPT_NAMES = ("instruction", "query", "problem", "question", "input")
ANSWER_NAMES = ("response", "output", "solution")
ALPACA_INPUTS = ("input", "context")
OTHER_NAMES = {
    "conversation": "conversations",
    "chosen_response": "chosen",
    "rejected_response": "rejected",
    "kto_tag": "label",
}
"""Names that mean one field only."""


def plain_name(column: str) -> str:
    """A name in lower case, without spaces around it, and with `_` for other spaces and hyphens."""
    return re.sub(r"[\s_-]+", "_", column.strip().lower())


def same_but_for_spelling(columns: Sequence[str], fields: Collection[str]) -> dict[str, str]:
    """Column → the field that it means: `{"Question": "question"}`. A column is left alone where another one already
    has the name, or means the same field."""
    meant = {column: plain_name(column) for column in columns}
    meant = {column: OTHER_NAMES.get(name, name) for column, name in meant.items()}
    counts = [meant[column] for column in columns]
    return {
        column: field
        for column, field in meant.items()
        if field in fields and field not in columns and counts.count(field) == 1
    }


def similar_names(columns: Sequence[str], fields: Collection[str]) -> dict[str, str]:
    """Column → field of nearly the same name, e.g. `{"promt": "prompt"}`, for a suggestion."""
    similar: dict[str, str] = {}
    for column in columns:
        matches = get_close_matches(plain_name(column), sorted(set(fields) - set(columns)), n=1, cutoff=0.8)
        if matches and column not in fields and matches[0] not in similar.values():
            similar[column] = matches[0]
    return similar


def common_other_names(columns: Sequence[str]) -> list[dict[str, str]]:
    """Column → field for columns that have a common other name, e.g. `{"query": "question"}`.

    Returns:
        the ways to read them; one where the names leave no doubt.
    """
    by_name = {plain_name(column): column for column in columns}
    inputs = [by_name[name] for name in ALPACA_INPUTS if name in by_name]
    asked = [by_name[name] for name in PROMPT_NAMES if name in by_name]
    answers = [by_name[name] for name in ANSWER_NAMES if name in by_name]
    instructions = [column for column in asked if column not in inputs]
    if {"chosen", "rejected"} <= by_name.keys():
        readings = [{column: "prompt"} for column in instructions or asked]
    elif instructions and inputs and answers:
        readings = [
            {instruction: "instruction", given: "input", answer: "output"}
            for instruction in instructions
            for given in inputs
            for answer in answers
        ]
    elif asked and answers:
        readings = [{column: "prompt", answer: "completion"} for column in asked for answer in answers]
    elif "answer" in by_name:
        readings = [{column: "question"} for column in asked]
    else:
        readings = []
    return [names for names in readings if not any(field in columns and field not in names for field in names.values())]
