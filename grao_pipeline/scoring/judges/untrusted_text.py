"""Untrusted texts in a judge's prompt, in blocks that no text can end.

A block stands between a BEGIN and an END line with a marker: a hash of every text in the prompt. A text cannot contain
the marker, since it would have to contain a hash of itself; and the same texts always give the same prompt.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import fingerprint

MARKER_DIGITS = 16
ROLE = re.compile(r"\w{1,32}")


@dataclass(frozen=True)
class TextBlock:
    """A text with its label.

    Example: `TextBlock("answer A", "Paris.")`
    """

    label: str
    """Trusted, on one line."""
    text: str


def conversation_blocks(messages: Sequence[Mapping[str, str]]) -> list[TextBlock]:
    """One block per turn: in a single text, a turn could fake further turns.

    Raises:
        InputError: a role is not a word.
    """
    blocks = []
    for number, message in enumerate(messages, start=1):
        if not ROLE.fullmatch(message["role"]):
            raise InputError(
                f"Turn {number} of the conversation: role must be a single word, found {message['role']!r}."
            )
        blocks.append(TextBlock(f"turn {number} of the conversation, by the {message['role']}", message["content"]))
    return blocks


def render_blocks(blocks: Sequence[TextBlock]) -> tuple[str, str]:
    """(marker, the blocks one below the other); the texts are unchanged."""
    texts = [block.text for block in blocks]
    marker = _marker(blocks, attempt=0)
    attempt = 0
    while any(marker in text for text in texts):  # a chance of 1 in 2^64, unless somebody inverts SHA-256
        attempt += 1
        marker = _marker(blocks, attempt)
    rendered = [
        f"=== BEGIN {block.label} · {marker} ===\n{block.text}\n=== END {block.label} · {marker} ==="
        for block in blocks
    ]
    return marker, "\n\n".join(rendered)


def _marker(blocks: Sequence[TextBlock], attempt: int) -> str:
    return fingerprint([attempt, [[block.label, block.text] for block in blocks]])[:MARKER_DIGITS]
