"""The format `messages`, also of OpenAI's fine-tuning files: one conversation, with or without its answer."""

from collections.abc import Mapping

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, rest
from grao_pipeline.prompts.conversations import conversation, listed_turns, reference_of


def convert(row: Row) -> Prompt:
    """The last turn is the reference if it is the assistant's; otherwise the prompt has no reference.

    Raises:
        DroppedRow: the value is missing or malformed.
    """
    return prompt_of_turns(row["messages"], "messages", rest(row, "messages"))


def prompt_of_turns(value: object, name: str, metadata: dict[str, object]) -> Prompt:
    """The prompt of a list of turns, with or without its answer.

    Raises:
        DroppedRow: the value is missing or malformed.
    """
    lost: set[str] = set()
    turns = listed_turns(value, name)
    messages = conversation(turns, name, lost=lost)
    if messages[-1]["role"] != "assistant":
        return Prompt(messages, None, None, metadata, lost=frozenset(lost))
    reference, reasoning = reference_of(messages[-1], lost)
    if isinstance(turns[-1], Mapping) and turns[-1].get("weight") == 0:
        reference, reasoning = None, None
        lost.add("an answer of weight 0, which is not to be learned")
    return Prompt(messages[:-1], reference, None, metadata, None, reasoning, frozenset(lost))


def fits(sample: Row) -> bool:
    return "messages" in sample


FORMAT = PromptFormat(
    name="messages",
    columns=("messages",),
    shape="messages: a list of {role, content}; if the assistant has the last turn, that is the reference",
    fits=fits,
    convert=convert,
    optional=("tools", "functions"),
)
