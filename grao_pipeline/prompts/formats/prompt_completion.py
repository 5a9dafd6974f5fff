"""The format `prompt-completion`: `prompt`, and optionally `completion`; both are texts or lists of messages."""

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, rest
from grao_pipeline.prompts.conversations import answer_turn, conversation, reference_of


def convert(row: Row) -> Prompt:
    """The completion is the reference. A source without that column yields prompts without a reference.

    Raises:
        DroppedRow: a value is missing or malformed.
    """
    lost: set[str] = set()
    prompt = conversation(row["prompt"], "prompt", lost=lost)
    metadata = rest(row, "prompt", "completion")
    if "completion" not in row:
        return Prompt(prompt, None, None, metadata, lost=frozenset(lost))
    reference, reasoning = reference_of(answer_turn(row["completion"], "completion", lost), lost)
    return Prompt(prompt, reference, None, metadata, None, reasoning, frozenset(lost))


def fits(sample: Row) -> bool:
    return "prompt" in sample and not {"chosen", "rejected"} & sample.keys()


FORMAT = PromptFormat(
    name="prompt-completion",
    columns=("prompt",),
    shape="prompt, and completion if the source has answers: texts or lists of {role, content}",
    fits=fits,
    convert=convert,
    optional=("completion",),
)
