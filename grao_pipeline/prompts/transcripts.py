"""The transcripts of Anthropic's HH-RLHF: one string, "\\n\\nHuman: …\\n\\nAssistant: …".

A paragraph that begins with "Human:" or "Assistant:" starts a turn. Such a paragraph inside a turn cannot be escaped,
so one transcript alone cannot distinguish a quoted marker from a turn. Two checks keep this from damaging an answer:

- `pairs.split_pair` requires that both transcripts agree up to the last turn. A marker inside one of the two answers
  makes their turns differ, so the row is dropped and the answer is not cut short.
- A prompt must end in a user turn, so a marker of the assistant inside a text with which both answers begin drops the
  row, too.

One case remains: a marker in the shared text. The context is then divided at another place, but no word of it is lost,
and none of it is trained on.
"""

import re

from grao_pipeline.prompts.base import DroppedRow, Message

TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(value: object) -> bool:
    """Whether a value is a text that begins as a transcript."""
    return isinstance(value, str) and re.match(r"\s*Human:", value) is not None


def parse_transcript(text: str) -> list[Message]:
    """The turns of a transcript, from a user turn to one of the assistant. The last one may be empty.

    Whitespace around a turn's text is layout and is removed; line breaks may be those of Windows.

    Raises:
        DroppedRow: the text is not such a transcript.
    """
    before, *pieces = TURN.split(text.replace("\r\n", "\n"))
    speakers, texts = pieces[0::2], [piece.strip() for piece in pieces[1::2]]
    if before.strip() or not speakers or speakers[0] != "Human":
        raise DroppedRow("the transcript does not start with a Human turn")
    if speakers[-1] != "Assistant":
        raise DroppedRow("the transcript does not end in an Assistant turn")
    if not all(texts[:-1]):
        raise DroppedRow("a turn before the last is empty")
    return [{"role": ROLES[speaker], "content": content} for speaker, content in zip(speakers, texts, strict=True)]
