"""The task: prompts with noisy references, and the verifier that is the reward.

    R = 0.15 · (nothing but JSON) + 0.15 · (the schema allows it) + 0.7 · right fields / max(fields given, fields asked)

A field is a leaf of the record, at its path. JSON with prose around it counts for the second and third term. References
are no better than people: two of three have a flaw or two, so imitation alone stops at their mean reward.
"""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from examples.structured_output.records import NEVER_TRAINED, TRAINED, Kind, Record, draw_message

JSON_ALONE, ALLOWED, RIGHT_FIELDS = 0.15, 0.15, 0.7
FLAWS = {0: 1 / 3, 1: 1 / 3, 2: 1 / 3}
"""Number of flaws of a reference → share of the references that have this many."""
PROSE = ("Sure! Here is the record:\n", "The record of this message:\n", "Here you go: ")
KINDS = {kind.name: kind for kind in (*TRAINED, *NEVER_TRAINED)}


def make_prompt(kind: Kind, message: str) -> str:
    """The instruction, with the form of the record."""
    instruction = "Turn the message into a JSON record of this form. Write the JSON and nothing else."
    return f"{instruction}\nForm: {json.dumps(kind.form)}\nMessage: {message}"


def reward(completions: list[str], metadata: list[dict[str, Any]], **_: object) -> list[float]:
    """How good the records are, from 0 to 1.

    Args:
        metadata: one mapping per row; `record` is the right record as JSON.
    """
    return [_reward(text, json.loads(row["record"])) for text, row in zip(completions, metadata, strict=True)]


def _reward(text: str, expected: Record) -> float:
    given, is_alone = find_json(text)
    if given is None:
        return 0.0
    right, asked = leaves(expected), leaves(given)
    share = sum(asked.get(path) == value for path, value in right.items()) / max(len(right), len(asked))
    is_allowed = schema_of(expected["kind"]).is_valid(given)
    return JSON_ALONE * is_alone + ALLOWED * is_allowed + RIGHT_FIELDS * share


def find_json(text: str) -> tuple[Any, bool]:
    """The first JSON object of a text, and whether the text is nothing else; None without an object."""
    text = text.strip()
    start = text.find("{")
    if start < 0:
        return None, False
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, False
    return value, start == 0 and end == len(text)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], tuple[type, object]]:
    """Path → type and value of every leaf: the text 3 is not the number 3."""
    if isinstance(value, dict):
        return {leaf: content for key, item in value.items() for leaf, content in leaves(item, (*path, key)).items()}
    if isinstance(value, list):
        return {
            leaf: content for place, item in enumerate(value) for leaf, content in leaves(item, (*path, place)).items()
        }
    return {path: (type(value), value)}


@cache
def schema_of(kind: str) -> Draft202012Validator:
    """The JSON schema of a kind: all fields of its form, no others."""
    return Draft202012Validator(_schema(KINDS[kind].form))


def _schema(form: Any) -> dict[str, Any]:
    if isinstance(form, dict):
        properties = {key: _schema(value) for key, value in form.items()}
        return {"type": "object", "properties": properties, "required": list(form), "additionalProperties": False}
    if isinstance(form, list):
        return {"type": "array", "items": _schema(form[0]), "minItems": 1}
    return {"type": "integer" if isinstance(form, int) else "string"}


def make_reference(record: Record, rng: random.Random) -> str:
    """The record as JSON, with as many flaws as `FLAWS` draws: a wrong or missing value, or prose around it."""
    [num_flaws] = rng.choices(list(FLAWS), weights=list(FLAWS.values()))
    flawed, prose = copy.deepcopy(record), ""
    for _ in range(num_flaws):
        flaw = rng.choice(("wrong", "missing", "prose"))
        if flaw == "prose":
            prose = rng.choice(PROSE)
        else:
            holder, key = rng.choice(list(_places(flawed)))
            if flaw == "missing" and isinstance(holder, dict) and len(holder) > 1:
                del holder[key]
            else:
                holder[key] = holder[key] + 1 if isinstance(holder[key], int) else "unknown"
    return prose + json.dumps(flawed)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Holder and key of every leaf, but for the kind."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list):
            yield from _places(item)
        elif key != "kind":
            yield value, key


def write_prompts(path: Path, kinds: Sequence[Kind], num_prompts: int, seed: int) -> None:
    """Write JSONL rows with `prompt`, `completion` (the noisy reference), `record` and `kind`; kinds take turns.

    The same seed writes the same bytes; the prompts of one file are all different.
    """
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < num_prompts:
        kind = kinds[len(rows) % len(kinds)]
        record, message = draw_message(kind, rng)
        prompt = make_prompt(kind, message)
        row = {
            "prompt": prompt,
            "completion": make_reference(record, rng),
            "record": json.dumps(record),
            "record_kind": kind.name,
        }
        rows.setdefault(prompt, json.dumps(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows.values()), encoding="utf-8")
