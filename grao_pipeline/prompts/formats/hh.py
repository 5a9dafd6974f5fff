"""Anthropic's HH-RLHF: `chosen` and `rejected` are whole transcripts that differ in the last turn."""

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, filled, filled_or_none, rest
from grao_pipeline.prompts.conversations import text
from grao_pipeline.prompts.formats.pairs import split_pair
from grao_pipeline.prompts.formats.transcripts import parse_transcript


def convert(row: Row) -> Prompt:
    """The shared turns are the prompt; the last turns are the reference and the rejected answer.

    Raises:
        DroppedRow: a transcript is malformed, or the two differ before the last turn.
    """
    chosen = parse_transcript(text(row["chosen"], "chosen"))
    rejected = parse_transcript(text(row["rejected"], "rejected"))
    messages, preferred, dispreferred = split_pair(chosen, rejected)
    return Prompt(messages, filled(preferred), filled_or_none(dispreferred), rest(row, "chosen", "rejected"))


def fits(sample: Row) -> bool:
    return "prompt" not in sample and all(isinstance(sample.get(name), str) for name in ("chosen", "rejected"))


FORMAT = PromptFormat(
    name="hh",
    columns=("chosen", "rejected"),
    shape="chosen, rejected: transcripts with '\\n\\nHuman:' and '\\n\\nAssistant:' turns",
    fits=fits,
    convert=convert,
)
