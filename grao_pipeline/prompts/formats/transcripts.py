"""The transcripts of Anthropic's HH-RLHF: one string, "\\n\\nHuman: …\\n\\nAssistant: …".

A paragraph that begins with "Human:" or "Assistant:" opens a turn. Nothing escapes such a paragraph inside a turn, so
a single transcript cannot tell a quoted marker from a turn. Two checks keep a mistake from reaching an answer:

- speakers must alternate, or the row is dropped (a marker of the speaker who already speaks is in the text);
- `pairs.split_pair` demands that both transcripts agree up to the last turn, so a marker inside one of the two answers
  makes their turns differ and drops the row, instead of cutting that answer short.

What is left is a marker in the text that both share, with speakers that alternate: the context is divided at another
place, but no word of it is lost and none of it is trained on.
"""

import re
from itertools import pairwise

from grao_pipeline.prompts.base import DroppedRow, Message

TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def parse_transcript(text: str) -> list[Message]:
    """The turns of a transcript: user, assistant, …, assistant. The last one may be empty.

    Whitespace around a turn's text is layout and is removed.

    Raises:
        DroppedRow: it is not such a transcript.
    """
    before, *pieces = TURN.split(text)
    speakers, texts = pieces[0::2], [piece.strip() for piece in pieces[1::2]]
    if before.strip() or not speakers or speakers[0] != "Human":
        raise DroppedRow("the transcript does not start with a Human turn")
    if any(speaker == following for speaker, following in pairwise(speakers)):
        raise DroppedRow("one speaker has two turns in a row")
    if speakers[-1] != "Assistant":
        raise DroppedRow("the transcript does not end in an Assistant turn")
    if not all(texts[:-1]):
        raise DroppedRow("a turn before the last is empty")
    return [{"role": ROLES[speaker], "content": content} for speaker, content in zip(speakers, texts, strict=True)]
