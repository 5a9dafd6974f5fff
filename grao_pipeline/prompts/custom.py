"""`--format module:function`: a user's function of a row as a format."""

import inspect
import traceback
from collections.abc import Mapping

from grao_pipeline.errors import UsageError
from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row, filled, filled_or_none
from grao_pipeline.prompts.canonical import canonical_json
from grao_pipeline.prompts.conversations import answer_turn, conversation, reference_of
from grao_pipeline.prompts.tools import read_tools

KEYS = ("messages", "prompt", "reference", "rejected", "reference_reasoning", "tools", "metadata")
"""Of the dictionary that a function returns; `messages` and `prompt` mean the same."""


def custom_format(name: str, function: object) -> PromptFormat:
    """The format of a function `row → Prompt`, `row → dict` with keys of `KEYS`, or `row → None` for a row to drop.

    A function drops a row with a reason by raising `DroppedRow("…")`.

    Raises:
        UsageError: it is not a function.
    """
    if not callable(function):
        raise UsageError(f"'{name}' is not a function of a row.", option="format")
    shape = " ".join((inspect.getdoc(function) or "a function of a row").split("\n\n")[0].split())

    def convert(row: Row) -> Prompt:
        try:
            result = function(dict(row))
        except DroppedRow:
            raise
        except Exception as error:  # whatever a user's function raises is the user's to see, at its line
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise UsageError(
                f"'{name}' failed at {last.filename}:{last.lineno}: {type(error).__name__}: {error}. "
                f"The row: {dict(row)!s:.300}",
                option="format",
            ) from error
        return _prompt(name, result)

    return PromptFormat(name, (), shape, _fits_by_name_only, convert)


def _fits_by_name_only(sample: Row) -> bool:
    return False


def _prompt(name: str, result: object) -> Prompt:
    if isinstance(result, Prompt):
        return result
    if result is None:
        raise DroppedRow(f"{name} returned None")
    if not isinstance(result, Mapping):
        raise UsageError(
            f"'{name}' must return a Prompt, a dictionary or None, found {type(result).__name__}.", option="format"
        )
    unknown = [key for key in result if key not in KEYS]
    if unknown:
        raise UsageError(f"'{name}' returned the key '{unknown[0]}'. Keys: {', '.join(KEYS)}.", option="format")
    lost: set[str] = set()
    messages = conversation(result.get("messages", result.get("prompt")), "prompt", lost=lost)
    reference, reasoning = None, None
    if result.get("reference") is not None:
        reference, reasoning = reference_of(answer_turn(result["reference"], "reference", lost), lost)
    rejected = result.get("rejected")
    return Prompt(
        messages,
        reference if reference is None else filled(reference),
        None if rejected is None else filled_or_none(answer_turn(rejected, "rejected", lost)["content"]),
        _metadata(name, result.get("metadata")),
        read_tools(result.get("tools")),
        result.get("reference_reasoning") or reasoning,
        frozenset(lost),
    )


def _metadata(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, Mapping | None):
        raise UsageError(f"'{name}' returned metadata that is not a dictionary: {value!r:.80}.", option="format")
    metadata = {str(key): item for key, item in (value or {}).items()}
    try:
        canonical_json(metadata)
    except TypeError as error:
        raise UsageError(f"'{name}' returned metadata that JSON cannot hold: {error}.", option="format") from error
    return metadata
