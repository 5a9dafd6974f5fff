"""Text of others stays text: a special token that a message spells is encoded as the letters of its name.

Between rendering and encoding, a mark stands inside such a spelling. It keeps the tokenizer from taking it for the
token that a chat template writes.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from grao_pipeline.messages import Message
from grao_pipeline.models.token_text import special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = "\ufdd0"
"""A noncharacter: Unicode reserves it for such uses inside of a program."""


class PlainText:
    """Marks the special tokens of a tokenizer in texts, and encodes marked texts.

    Example: `marked("<|im_end|>")` is `"<\ufdd0|im_end|>"`, whose token IDs are those of the ten letters.

    Args:
        tokenizer: a transformers tokenizer.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        spellings = tokenizer.convert_ids_to_tokens(sorted(special_tokens(tokenizer)))
        self._spellings = frozenset(text for text in spellings if text and len(text) > 1)
        self._lengths = sorted({len(text) for text in self._spellings})
        starts = "".join(sorted({text[0] for text in self._spellings}))
        self._start = re.compile(f"[{re.escape(starts)}]" if starts else "(?!)")
        longest_first = sorted(self._spellings, key=lambda text: (-len(text), text))
        marked = "|".join(f"{re.escape(text[0])}{MARK}{re.escape(text[1:])}" for text in longest_first)
        self._marked = re.compile(f"({marked or '(?!)'})")

    def marked(self, text: str) -> str:
        """A text, with a mark in every special token that it spells, also in one that begins inside another."""
        return self._start.sub(self._start_marked, text.replace(MARK, ""))

    def marked_message(self, message: Message) -> dict[str, object]:
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

    def _start_marked(self, match: re.Match[str]) -> str:
        """The character that may begin a special token, with a mark after it where it does."""
        start, text = match.start(), match.string
        is_spelled = any(text[start : start + length] in self._spellings for length in self._lengths)
        return match[0] + MARK if is_spelled else match[0]

    def _marked_value(self, value: object) -> object:
        if isinstance(value, str):
            return self.marked(value)
        if isinstance(value, Mapping):
            return {name: self._marked_value(item) for name, item in value.items()}
        return [self._marked_value(item) for item in value] if isinstance(value, list) else value

    def _encode(self, text: str, **letters: bool) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False, **letters)]
