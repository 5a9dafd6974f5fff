"""Which prompts are held out for evaluation: the hash of a conversation alone decides."""

from grao_pipeline.fingerprints import fingerprint, message_key
from grao_pipeline.prompts.base import Message

HASH_DIGITS = 16
HASHES: int = 16**HASH_DIGITS


def is_held_out(messages: list[Message], fraction: float) -> bool:
    """True for a share `fraction` of all conversations.

    The same conversation is always on the same side, whatever its answers and the other rows are. A larger fraction
    holds out every conversation that a smaller one holds out.
    """
    digest = fingerprint([message_key(message) for message in messages])
    return int(digest[:HASH_DIGITS], 16) < fraction * HASHES
