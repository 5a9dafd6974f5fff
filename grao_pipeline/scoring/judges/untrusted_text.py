"""Texts that others wrote, set apart in a judge's prompt so that none of them can end its own block.

A block stands between a BEGIN and an END line that bear a marker: a hash of every text in the prompt. A text cannot
hold the marker, for it would have to hold a hash of itself; and the same texts always give the same prompt.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import fingerprint

MARKER_DIGITS = 16
ROLE = re.compile(r"\w{1,32}")


@dataclass(frozen=True)
class Block:
    """A text and what it is.

    Example: `Block("answer A", "Paris.")`
    """

    label: str
    """Our own words, on one line."""
    text: str


def conversation_blocks(messages: Sequence[Mapping[str, str]]) -> list[Block]:
    """A block per turn: were they one text, a turn could make up further turns.

    Raises:
        InputError: a role is not a word.
    """
    blocks = []
    for number, message in enumerate(messages, start=1):
        if not ROLE.fullmatch(message["role"]):
            raise InputError(f"turn {number} of the conversation has the role {message['role']!r}, which is no word")
        blocks.append(Block(f"turn {number} of the conversation, by the {message['role']}", message["content"]))
    return blocks


def render_blocks(blocks: Sequence[Block]) -> tuple[str, str]:
    """The marker, and the blocks one below the other; each text stands there as it is."""
    texts = [block.text for block in blocks]
    marker = _marker(blocks, attempt=0)
    attempt = 0
    while any(marker in text for text in texts):  # by a chance of 1 in 2^64, or by whoever inverts SHA-256
        attempt += 1
        marker = _marker(blocks, attempt)
    rendered = [
        f"=== BEGIN {block.label} · {marker} ===\n{block.text}\n=== END {block.label} · {marker} ==="
        for block in blocks
    ]
    return marker, "\n\n".join(rendered)


def _marker(blocks: Sequence[Block], attempt: int) -> str:
    return fingerprint([attempt, [[block.label, block.text] for block in blocks]])[:MARKER_DIGITS]
