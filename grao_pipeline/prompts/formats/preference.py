"""The format `preference`: `prompt`, `chosen`, `rejected`; or two conversations that begin with the same turns."""

from grao_pipeline.prompts.base import DroppedRow, Message, Prompt, PromptFormat, Row, filled_or_none, rest
from grao_pipeline.prompts.conversations import conversation, reference_of
from grao_pipeline.prompts.pairs import split_pair, whole_conversation
from grao_pipeline.prompts.transcripts import is_transcript

LONG_ENOUGH = 20
"""A prompt of this many characters with which both answers begin is not a coincidence."""


def convert(row: Row) -> Prompt:
    """Answers are texts or lists of messages. A list may repeat the prompt, or hold it if there is no `prompt`.

    Raises:
        DroppedRow: a value is missing or malformed, or the two conversations differ before the last turn.
    """
    lost: set[str] = set()
    prompt = conversation(row["prompt"], "prompt", lost=lost) if row.get("prompt") is not None else []
    chosen_value, rejected_value = _without_prompt(row.get("prompt"), row["chosen"], row["rejected"])
    chosen = whole_conversation(prompt, conversation(chosen_value, "chosen", "assistant", lost), "chosen")
    rejected = None if rejected_value is None else _rejected(rejected_value, prompt, chosen, lost)
    messages, chosen_turn, rejected_turn = split_pair(chosen, rejected)
    if not messages:
        raise DroppedRow("the prompt is missing")
    reference, reasoning = reference_of(chosen_turn, lost)
    dispreferred = None
    if rejected_turn is not None:
        dispreferred = filled_or_none(rejected_turn["content"])
        lost.update(
            f"{key} of the rejected answer" for key in ("reasoning_content", "tool_calls") if key in rejected_turn
        )
    metadata = rest(row, "prompt", "chosen", "rejected")
    if "messages" in metadata and metadata["messages"] == row["chosen"]:
        del metadata["messages"]  # UltraFeedback writes the chosen conversation twice
    return Prompt(messages, reference, dispreferred, metadata, None, reasoning, frozenset(lost))


def _rejected(value: object, prompt: list[Message], chosen: list[Message], lost: set[str]) -> list[Message]:
    """The conversation of the rejected answer; an answer alone follows the turns of the chosen one."""
    turns = conversation(value, "rejected", "assistant", lost)
    if len(turns) == 1 and turns[0]["role"] == "assistant":
        return [*chosen[:-1], *turns]
    return whole_conversation(prompt, turns, "rejected")


def _without_prompt(prompt: object, chosen: object, rejected: object) -> tuple[object, object]:
    """Answers in text that both begin with the prompt, without it."""
    if not (isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str)):
        return chosen, rejected
    begin = prompt.strip()
    if len(begin) < LONG_ENOUGH or not all(answer.lstrip().startswith(begin) for answer in (chosen, rejected)):
        return chosen, rejected
    return chosen.lstrip().removeprefix(begin), rejected.lstrip().removeprefix(begin)


def fits(sample: Row) -> bool:
    if not {"chosen", "rejected"} <= sample.keys():
        return False
    if is_transcript(sample["prompt"] if "prompt" in sample else sample["chosen"]):
        return False
    return "prompt" in sample or isinstance(sample["chosen"], list)


FORMAT = PromptFormat(
    name="preference",
    columns=("chosen", "rejected"),
    shape="prompt, chosen, rejected: texts or lists of {role, content}; the lists may begin with the prompt instead",
    fits=fits,
    convert=convert,
    optional=("prompt",),
    over=("messages",),
)
