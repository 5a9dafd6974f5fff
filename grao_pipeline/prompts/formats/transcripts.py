"""The transcripts of Anthropic's HH-RLHF: one string, "\\n\\nHuman: …\\n\\nAssistant: …".

A paragraph that begins with "Human:" or "Assistant:" starts a turn. Such a paragraph inside a turn cannot be escaped,
so one transcript alone cannot distinguish a quoted marker from a turn. Two checks keep this from damaging an answer:

- Speakers must alternate, or the row is dropped (a quoted marker of the current speaker breaks the alternation).
- `pairs.split_pair` requires that both transcripts agree up to the last turn. A marker inside one of the two answers
  makes their turns differ, so the row is dropped and the answer is not cut short.

One case remains: a marker in the shared text, with speakers that alternate. The context is then divided at another
place, but no word of it is lost, and none of it is trained on.
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
        DroppedRow: the text is not such a transcript.
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
