"""Which prompts are held out for evaluation: decided for each conversation by its own hash alone."""

from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.prompts.base import Message

HASH_DIGITS = 16
HASHES: int = 16**HASH_DIGITS


def is_held_out(messages: list[Message], fraction: float) -> bool:
    """True for a share `fraction` of all conversations.

    The same conversation is always on the same side, whatever its answers and its neighbours are; and a larger
    fraction holds out all that a smaller one does.
    """
    digest = fingerprint([[message["role"], message["content"]] for message in messages])
    return int(digest[:HASH_DIGITS], 16) < fraction * HASHES
