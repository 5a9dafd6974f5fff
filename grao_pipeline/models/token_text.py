"""Where the tokens of a completion end in its text, and where a stop string ends it."""

import codecs
import json
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED = "\ufffd"
"""What decoding gives for the bytes of a character that is not complete."""


class TokenText:
    """The text of token IDs, token by token.

    Args:
        tokenizer: a transformers tokenizer.
        shown: special tokens that the text shows, e.g. those that mark reasoning.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", shown: Collection[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._shown = shown

    def text(self, token_ids: Sequence[int]) -> str:
        """The text without special tokens but for those that are shown."""
        if not self._shown:
            return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))
        visible = [token for token in token_ids if token not in self._dropped]
        return str(self._tokenizer.decode(visible, skip_special_tokens=False))

    def ends(self, token_ids: Sequence[int], text: str) -> list[int]:
        """Number of characters of the text up to the end of each token. A token that ends inside a character counts
        the characters before it; the last token ends with the text. [L]

        Args:
            text: of all the tokens.
        """
        if not token_ids:
            return []
        counts = self._ends_by_bytes(token_ids, text)
        if counts is None:
            counts = [min(count, len(text)) for count in self._ends_by_decoding(token_ids)]
        counts[-1] = len(text)
        return counts

    def ends_within(self, token_ids: Sequence[int], text: str) -> list[int] | None:
        """`ends`, where the text need not be that of the tokens: an answer without the thought before it, or with white
        space that the chat template strips. [L] None where one text does not contain the other.
        """
        whole = self.text(token_ids)
        before, stripped = whole.rfind(text), text.find(whole)
        if before < 0 and stripped < 0:
            return None
        shift = stripped if before < 0 else -before
        counts = [min(max(end + shift, 0), len(text)) for end in self.ends(token_ids, whole)]
        return [*counts[:-1], len(text)] if counts else []

    def _ends_by_bytes(self, token_ids: Sequence[int], text: str) -> list[int] | None:
        """Count the characters in the bytes of the tokens; None where these are not the bytes of the text."""
        table = self._bytes
        try:
            pieces = [table[token] for token in token_ids]
        except IndexError:  # a model's vocabulary may be larger than its tokenizer's
            pieces = [table[token] if token < len(table) else b"" for token in token_ids]
        whole, expected = b"".join(pieces), text.encode("utf-8", "surrogatepass")
        if whole == expected:
            return _complete_characters(pieces, whole, len(text))
        if whole == b" " + expected:  # tokenizers of the SentencePiece family strip the space before the first word
            return [max(count - 1, 0) for count in _complete_characters(pieces, whole, len(text) + 1)]
        if whole.decode("utf-8", "replace") == text:
            decode = codecs.getincrementaldecoder("utf-8")("replace").decode
            return list(accumulate(len(decode(piece)) for piece in pieces))
        return None

    def _ends_by_decoding(self, token_ids: Sequence[int]) -> Iterator[int]:
        """Decode windows: the text of the tokens since the last complete character, with those before as context."""
        context, start, count = 0, 0, 0
        for end in range(1, len(token_ids) + 1):
            before, now = self.text(token_ids[context:start]), self.text(token_ids[context:end])
            if len(now) > len(before) and not now.endswith(UNFINISHED):
                count += len(now) - len(before)
                context, start = start, end
            yield count

    @cached_property
    def _dropped(self) -> set[int]:
        """The special tokens that the text does not show."""
        return special_tokens(self._tokenizer) - set(self._shown)

    @cached_property
    def _bytes(self) -> list[bytes]:
        """The bytes of every token; none of a special one. A guess from the kind of the decoder: `ends` checks it."""
        tokenizer = self._tokenizer
        of_piece = _byte_level if _has_byte_level(tokenizer) else _word_piece
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        return [
            b"" if piece is None or index in self._dropped else of_piece(piece) for index, piece in enumerate(pieces)
        ]


class StopStrings:
    """Texts that end a completion. They are treated like an end-of-turn token: the tokens up to the one that completes
    a stop string are the completion's, the last ones included, and its text ends before the stop string.

    Args:
        stops: none of them empty.
    """

    def __init__(self, stops: Sequence[str], token_text: TokenText) -> None:
        self._stops = tuple(stops)
        self._token_text = token_text
        longest = max(map(len, stops), default=0)
        self._window = 4 * longest + 4  # a character has at most four bytes, a token at least one

    def length(self, token_ids: Sequence[int]) -> int | None:
        """The number of tokens up to the one that completes the first stop string; None where the text has none."""
        text = self._token_text.text(token_ids)
        place = self._first(text)
        if place is None:
            return None
        ends = self._token_text.ends(token_ids, text)
        return next(index for index, end in enumerate(ends) if end >= place[1]) + 1

    def is_complete(self, token_ids: Sequence[int]) -> bool:
        """Whether the last tokens of a completion complete a stop string; quicker than `length`."""
        if not self._stops or self._first(self._token_text.text(token_ids[-self._window :])) is None:
            return False
        return self.length(token_ids) is not None

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of a completion, without the stop string that its last token completes."""
        text = self._token_text.text(token_ids)
        place = self._first(text)
        return text if place is None or self.length(token_ids) != len(token_ids) else text[: place[0]]

    def _first(self, text: str) -> tuple[int, int] | None:
        """(start, end) of the stop string that ends first in the text; of those that end together, the longest."""
        places = [(text.find(stop), len(stop)) for stop in self._stops]
        ends = [(start + length, -length) for start, length in places if start >= 0]
        if not ends:
            return None
        end, negative_length = min(ends)
        return end + negative_length, end


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """The special tokens of a transformers tokenizer, those that were added included."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(token for token, entry in added.items() if entry.special)}


def _complete_characters(pieces: Sequence[bytes], whole: bytes, num_characters: int) -> list[int]:
    """Number of complete characters up to the end of each piece of a valid UTF-8 text."""
    ends = list(accumulate(map(len, pieces)))
    if len(whole) == num_characters:
        return ends
    is_start = (np.frombuffer(whole, np.uint8) & 0xC0) != 0x80
    next_starts = np.append(np.flatnonzero(is_start)[1:], len(whole))
    counts: list[int] = np.searchsorted(next_starts, ends, side="right").tolist()
    return counts


def _has_byte_level(tokenizer: "PreTrainedTokenizerBase") -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and '"ByteLevel"' in json.dumps(json.loads(backend.to_str()).get("decoder"))


def _byte_level(piece: str) -> bytes:
    """Bytes of a token of a byte-level vocabulary, which writes every byte as a printable character."""
    try:
        return bytes(BYTE_OF[character] for character in piece)
    except KeyError:  # an added token is written as it is
        return piece.encode("utf-8", "surrogatepass")


def _word_piece(piece: str) -> bytes:
    """Bytes of a token of the SentencePiece family: `▁` is a space, `<0x0A>` a byte."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        try:
            return bytes([int(piece[3:5], 16)])
        except ValueError:
            pass
    return piece.replace("▁", " ").encode("utf-8", "surrogatepass")


def _byte_characters() -> dict[str, int]:
    """Character → byte of byte-level vocabularies (GPT-2): printable bytes stand for themselves, the others for the
    characters from 256 on, in order.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF = _byte_characters()
