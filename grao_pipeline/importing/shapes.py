"""Rows of one sample in the shapes of agent frameworks → a prompt and its continuation.

A whole conversation is divided before its first assistant turn; a whole sequence of token IDs before the first token
that the policy sampled. Padding is taken off by the attention mask.
"""

from collections.abc import Mapping
from itertools import compress

from grao_pipeline.importing.samples import read_ids
from grao_pipeline.prompts.base import DroppedRow, Row
from grao_pipeline.prompts.conversations import listed_turns

PER_TOKEN = ("completion_masks", "completion_logprobs", "completion_behavior_logprobs")


def divided(row: Row) -> dict[str, object]:
    """The row with `prompt` and `responses`, or `prompt_token_ids` and `completion_token_ids`.

    Raises:
        DroppedRow: the conversation or the sequence has no part that the policy sampled, or lists differ in length.
    """
    values = dict(row)
    if values.get("messages") is not None and "prompt" not in values:
        values |= _divided_turns(values.pop("messages"))
    if values.get("sequence_token_ids") is not None:
        values = _divided_sequence(values)
    elif values.get("completion_token_ids") is not None:
        values = _without_prompt_masks(values)
    return values


def _divided_turns(value: object) -> dict[str, object]:
    turns = listed_turns(value, "messages")
    roles = [turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None for turn in turns]
    first = next((place for place, role in enumerate(roles) if role in ("assistant", "gpt", "model")), None)
    if not first:
        raise DroppedRow("messages has no prompt" if first == 0 else "messages has no assistant turn")
    return {"prompt": turns[:first], "responses": [turns[first:]]}


def _divided_sequence(values: dict[str, object]) -> dict[str, object]:
    ids = read_ids(_one(values, "sequence_token_ids"), "token_ids")
    mask = _sequence_mask(values, len(ids))
    columns = {name: _one(values, name) for name in PER_TOKEN[1:]}
    attended = _one(values, "attention_masks")
    if attended is not None:
        present = _same_length(attended, len(ids), "attention_mask")
        columns = {
            name: list(compress(column, present)) if isinstance(column, list) and len(column) == len(ids) else column
            for name, column in columns.items()
        }
        ids, mask = list(compress(ids, present)), list(compress(mask, present))
    if not any(mask):
        raise DroppedRow("a response has no token that the policy sampled")
    first = mask.index(True)
    tails = {
        name: [column[first:]] if isinstance(column, list) and len(column) == len(ids) else [column]
        for name, column in columns.items()
    }
    divided_ids = {"prompt_token_ids": ids[:first], "completion_token_ids": [ids[first:]]}
    return {**values, **divided_ids, "completion_masks": [mask[first:]], **tails}


def _sequence_mask(values: Row, length: int) -> list[bool]:
    """Which tokens of a whole sequence the policy sampled."""
    mask, ranges = _one(values, "completion_masks"), _one(values, "action_ranges")
    if mask is not None:
        return _same_length(mask, length, "the mask")
    if not isinstance(ranges, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in ranges):
        raise DroppedRow("a whole sequence of token IDs without a mask or action_ranges")
    sampled = {place for start, end in ranges for place in range(start, end)}
    return [place in sampled for place in range(length)]


def _without_prompt_masks(values: dict[str, object]) -> dict[str, object]:
    """Padding taken off, and masks of prompt and completion cut to the completion, in a row of one sample."""
    ids = values["completion_token_ids"]
    if not isinstance(ids, list) or len(ids) != 1 or not isinstance(ids[0], list):
        return values
    given = values.get("prompt_token_ids")
    prompt: list[object] = given if isinstance(given, list) else []
    completion: list[object] = ids[0]
    total = len(prompt) + len(completion)
    columns = {name: _one(values, name) for name in PER_TOKEN}
    columns = {
        name: column[len(prompt) :] if prompt and isinstance(column, list) and len(column) == total else column
        for name, column in columns.items()
    }
    attended = _one(values, "attention_masks")
    if attended is not None:
        present = _same_length(attended, total, "attention_mask")
        of_prompt, of_completion = present[: len(prompt)], present[len(prompt) :]
        columns = {
            name: list(compress(column, of_completion)) if isinstance(column, list) else column
            for name, column in columns.items()
        }
        values["completion_token_ids"] = [list(compress(completion, of_completion))]
        values["prompt_token_ids"] = list(compress(prompt, of_prompt))
    return values | {name: [column] for name, column in columns.items()}


def _one(values: Row, name: str) -> object:
    """The only element of a list of one."""
    value = values.get(name)
    return value[0] if isinstance(value, list) and value else None


def _same_length(value: object, length: int, name: str) -> list[bool]:
    if not isinstance(value, list) or len(value) != length:
        raise DroppedRow(f"{name} and the token IDs differ in length")
    return [item == 1 for item in value]
