"""Text of others stays text: a special token that a message spells is encoded as the letters of its name.

Between rendering and encoding, a mark stands inside such a spelling. It keeps the tokenizer from taking it for the
token that a chat template writes.
"""

import re
from collections.abc import Mapping
from typing import Any

from grao_pipeline.messages import Message
from grao_pipeline.models.token_text import special_tokens

MARK = "\ufdd0"
"""A noncharacter: Unicode reserves it for such uses inside of a program."""


class PlainText:
    """Marks the special tokens of a tokenizer in texts, and encodes marked texts.

    Example: `marked("<|im_end|>")` is `"<\ufdd0|im_end|>"`, whose token IDs are those of the ten letters.

    Args:
        tokenizer: a transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        spellings = tokenizer.convert_ids_to_tokens(sorted(special_tokens(tokenizer)))
        longest_first = sorted((text for text in spellings if len(text) > 1), key=len, reverse=True)
        # A look-ahead, so that a token that begins inside another one is marked, too.
        spelled = (f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in longest_first)
        marked = (f"{re.escape(text[0])}{MARK}{re.escape(text[1:])}" for text in longest_first)
        self._spelled = re.compile("|".join(spelled) or "(?!)")
        self._marked = re.compile(f"({'|'.join(marked) or '(?!)'})")

    def marked(self, text: str) -> str:
        """A text, with a mark in every special token that it spells."""
        return self._spelled.sub(rf"\g<0>{MARK}", text.replace(MARK, ""))

    def marked_message(self, message: Message) -> dict[str, Any]:
        """A message, with marks in all its texts but the role."""
        return {name: value if name == "role" else self._marked_value(value) for name, value in message.items()}

    def encode(self, text: str) -> list[int]:
        """Token IDs of a text, in which only unmarked spellings are special tokens."""
        if MARK not in text:
            return self._encode(text)
        ids: list[int] = []
        for place, piece in enumerate(self._marked.split(text)):
            if piece:
                letters = {"split_special_tokens": True} if place % 2 or MARK in piece else {}
                ids += self._encode(piece.replace(MARK, ""), **letters)
        return ids

    def _marked_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.marked(value)
        if isinstance(value, Mapping):
            return {name: self._marked_value(item) for name, item in value.items()}
        return [self._marked_value(item) for item in value] if isinstance(value, list) else value

    def _encode(self, text: str, **letters: bool) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False, **letters)]
