"""The format `preference`: `prompt`, `chosen`, `rejected`; or two conversations that begin with the same turns."""

from grao_pipeline.prompts.base import (
    DroppedRow,
    Message,
    Prompt,
    PromptFormat,
    Row,
    filled,
    filled_or_none,
    rest,
)
from grao_pipeline.prompts.conversations import conversation
from grao_pipeline.prompts.formats.pairs import split_pair


def convert(row: Row) -> Prompt:
    """Answers are texts or lists of messages. A list may repeat the prompt, or hold it if there is no `prompt`.

    Raises:
        DroppedRow: a value is missing or malformed, or the two conversations differ before the last turn.
    """
    prompt = conversation(row["prompt"], "prompt") if row.get("prompt") is not None else []
    chosen = _turns(row["chosen"], "chosen", prompt)
    rejected = _turns(row["rejected"], "rejected", prompt) if row["rejected"] is not None else None
    shared, preferred, dispreferred = split_pair(chosen, rejected)
    if not prompt and not shared:
        raise DroppedRow("the prompt is missing")
    metadata = rest(row, "prompt", "chosen", "rejected")
    return Prompt(prompt + shared, filled(preferred), filled_or_none(dispreferred), metadata)


def _turns(value: object, name: str, prompt: list[Message]) -> list[Message]:
    """The turns after `prompt`: a text is the answer alone; a list may begin with the prompt."""
    messages = conversation(value, name, role="assistant")
    repeats = messages[: len(prompt)] == prompt and len(messages) > len(prompt)
    return messages[len(prompt) :] if repeats else messages


def fits(sample: Row) -> bool:
    if not {"chosen", "rejected"} <= sample.keys():
        return False
    return "prompt" in sample or isinstance(sample["chosen"], list)


FORMAT = PromptFormat(
    name="preference",
    columns=("chosen", "rejected"),
    shape="prompt, chosen, rejected: texts or lists of {role, content}; the lists may begin with the prompt instead",
    fits=fits,
    convert=convert,
)
