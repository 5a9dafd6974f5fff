"""The format `messages`: one conversation, with or without its answer."""

from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row, filled, rest
from grao_pipeline.prompts.conversations import conversation


def convert(row: Row) -> Prompt:
    """The last turn is the reference if it is the assistant's; otherwise the prompt has no reference.

    Raises:
        DroppedRow: the value is missing or malformed.
    """
    if not isinstance(row["messages"], list):
        raise DroppedRow("messages is missing" if row["messages"] is None else "messages is not a list")
    messages = conversation(row["messages"], "messages")
    metadata = rest(row, "messages")
    if messages[-1]["role"] != "assistant":
        return Prompt(messages, None, None, metadata)
    return Prompt(messages[:-1], filled(messages[-1]["content"]), None, metadata)


def fits(sample: Row) -> bool:
    return "messages" in sample


FORMAT = PromptFormat(
    name="messages",
    columns=("messages",),
    shape="messages: a list of {role, content}; if the assistant has the last turn, that is the reference",
    fits=fits,
    convert=convert,
)
