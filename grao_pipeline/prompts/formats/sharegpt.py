"""The format `sharegpt`: `conversations`, a list of {from, value}; {role, content} is read, too."""

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, rest
from grao_pipeline.prompts.formats.messages import prompt_of_turns


def convert(row: Row) -> Prompt:
    """`human` is the user, `gpt` the assistant. If the assistant has the last turn, that is the reference.

    Raises:
        DroppedRow: the value is missing or malformed.
    """
    return prompt_of_turns(row["conversations"], "conversations", rest(row, "conversations"))


def fits(sample: Row) -> bool:
    return "conversations" in sample


FORMAT = PromptFormat(
    name="sharegpt",
    columns=("conversations",),
    shape="conversations: a list of {from, value} with human and gpt, or of {role, content}",
    fits=fits,
    convert=convert,
    optional=("tools", "system"),
)
