"""Anthropic's HH-RLHF: `chosen` and `rejected` are whole transcripts that differ in the last turn."""

from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row, filled, filled_or_none, rest
from grao_pipeline.prompts.conversations import text
from grao_pipeline.prompts.pairs import split_pair
from grao_pipeline.prompts.transcripts import is_transcript, parse_transcript


def convert(row: Row) -> Prompt:
    """The shared turns are the prompt; the last turns are the reference and the rejected answer.

    A column `prompt` may hold the shared turns, once more or alone; the answers then follow it.

    Raises:
        DroppedRow: a transcript is malformed, or the two differ before the last turn.
    """
    transcripts = [_transcript(row.get("prompt"), text(row[name], name), name) for name in ("chosen", "rejected")]
    messages, chosen, rejected = split_pair(*map(parse_transcript, transcripts))
    assert rejected is not None
    reference, dispreferred = filled(chosen["content"]), filled_or_none(rejected["content"])
    return Prompt(messages, reference, dispreferred, rest(row, "prompt", "chosen", "rejected"))


def _transcript(prompt: object, answer: str, name: str) -> str:
    """The whole transcript: `answer`, or the prompt followed by it."""
    if not isinstance(prompt, str) or not prompt.strip():
        return answer
    if not is_transcript(answer):
        return f"{prompt.rstrip()} {answer.lstrip()}"
    if not "".join(answer.split()).startswith("".join(prompt.split())):
        raise DroppedRow(f"prompt and {name} are different conversations")
    return answer


def fits(sample: Row) -> bool:
    has_texts = all(isinstance(sample.get(name), str) for name in ("chosen", "rejected"))
    return has_texts and is_transcript(sample["prompt"] if "prompt" in sample else sample["chosen"])


FORMAT = PromptFormat(
    name="hh",
    columns=("chosen", "rejected"),
    shape="chosen, rejected: transcripts with '\\n\\nHuman:' and '\\n\\nAssistant:' turns",
    fits=fits,
    convert=convert,
    optional=("prompt",),
)
