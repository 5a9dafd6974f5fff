"""The format `prompt-completion`: `prompt`, and optionally `completion`; both are texts or lists of messages."""

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, filled, rest
from grao_pipeline.prompts.conversations import answer, conversation


def convert(row: Row) -> Prompt:
    """The completion is the reference. A source without that column yields prompts without a reference.

    Raises:
        DroppedRow: a value is missing or malformed.
    """
    prompt = conversation(row["prompt"], "prompt")
    reference = filled(answer(row["completion"], "completion")) if "completion" in row else None
    return Prompt(prompt, reference, None, rest(row, "prompt", "completion"))


def fits(sample: Row) -> bool:
    return "prompt" in sample and not {"chosen", "rejected"} & sample.keys()


FORMAT = PromptFormat(
    name="prompt-completion",
    columns=("prompt",),
    shape="prompt, and completion if the source has answers: texts or lists of {role, content}",
    fits=fits,
    convert=convert,
)
