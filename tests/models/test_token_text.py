"""Ends of tokens in a text, and stop strings, for byte-level tokenizers and those of the SentencePiece family."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.models.token_text import StopStrings, TokenText
from grao_pipeline.testing import TEXTS, train_tokenizer

ZWJ_FAMILY = "👩\u200d👩\u200d👧"
TRAINED = [*TEXTS, f"naïve café 😀 {ZWJ_FAMILY} 日本語 {ZWJ_FAMILY}"]


@cache
def byte_level() -> Any:
    """Bytes of emoji are merged only in part, so that tokens end inside characters."""
    return train_tokenizer(TRAINED, 340)


@cache
def sentence_piece() -> Any:
    """Words begin with `▁`, unknown characters are bytes, and decoding strips the first space: as Llama 2 does."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "</s>"]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    vocabulary = tokenizer.get_vocab()
    merges = [tuple(merge) for merge in _merges(tokenizer)]
    vocabulary |= {piece: len(vocabulary) + n for n, piece in enumerate(alphabet)}
    tokenizer.model = models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def _merges(tokenizer: Any) -> list[Any]:
    import json

    merges: list[Any] = json.loads(tokenizer.to_str())["model"]["merges"]
    return merges


TOKENIZERS = {"byte level": byte_level, "sentence piece": sentence_piece}
texts = st.text(st.sampled_from([*"ab 5\n.", "é", "日", "😀", "\u200d", "👩", "👧"]), max_size=24)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_ends_count_the_characters_that_are_complete(name: str, text: str) -> None:
    """The oracle: the decoded tokens up to there, without an incomplete last character."""
    tokenizer = TOKENIZERS[name]()
    ids = tokenizer.encode(text, add_special_tokens=False)
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    ends = TokenText(tokenizer).ends(ids, decoded)
    assert len(ends) == len(ids)
    assert ends == sorted(ends)
    assert not ids or ends[-1] == len(decoded)
    for index, end in enumerate(ends[:-1]):
        prefix = tokenizer.decode(ids[: index + 1], skip_special_tokens=True)
        if name == "byte level" or "\ufffd" not in prefix:  # byte fallback spoils the whole run of bytes
            assert prefix.rstrip("\ufffd") == decoded[:end]


@pytest.mark.slow
@given(ids=st.lists(st.integers(0, 339), max_size=30))
@settings(max_examples=60, deadline=None)
def test_ends_of_any_tokens_rise_to_the_length_of_the_text(ids: list[int]) -> None:
    """Of bytes that are not text, and of special tokens, too."""
    tokenizer = byte_level()
    ids = [min(token, len(tokenizer) - 1) for token in ids]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    ends = TokenText(tokenizer).ends(ids, text)
    assert ends == sorted(ends)
    assert all(0 <= end <= len(text) for end in ends)
    assert not ids or ends[-1] == len(text)


def test_a_token_inside_a_character_counts_the_characters_before_it() -> None:
    """`é` is two bytes and one of them a token: a, é's first byte, é's second byte, end of turn."""
    tokenizer = train_tokenizer(["a"], 300)
    ids = [*tokenizer.encode("aéb", add_special_tokens=False), tokenizer.eos_token_id]
    assert len(ids) == 5
    assert TokenText(tokenizer).ends(ids, "aéb") == [1, 1, 2, 3, 3]


def test_a_token_beyond_the_tokenizer_has_no_text() -> None:
    """Models have more embeddings than their tokenizer has tokens."""
    tokenizer = byte_level()
    ids = [*tokenizer.encode("plum", add_special_tokens=False), len(tokenizer) + 5]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert TokenText(tokenizer).ends(ids, text)[-2:] == [4, 4]


def test_text_that_bytes_do_not_give_is_decoded_in_windows() -> None:
    """A decoder of another kind: WordPiece joins `##s` to the word before it and puts spaces between words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "plum": 1, "##s": 2, "fig": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    assert fast.decode([1, 2, 3]) == "plums fig"
    assert TokenText(fast).ends([1, 2, 3], "plums fig") == [4, 5, 9]


def stops_of(*stops: str) -> tuple[StopStrings, Any]:
    tokenizer = byte_level()
    return StopStrings(stops, TokenText(tokenizer)), tokenizer


@pytest.mark.slow
@given(before=texts, stop=texts.filter(bool), after=texts)
@settings(max_examples=80, deadline=None)
def test_a_completion_is_cut_where_its_text_first_has_the_stop_string(before: str, stop: str, after: str) -> None:
    stops, tokenizer = stops_of(stop)
    ids = tokenizer.encode(before + stop + after, add_special_tokens=False)
    length = stops.length(ids)
    assert length is not None
    assert stop in tokenizer.decode(ids[:length])
    assert stop not in tokenizer.decode(ids[: length - 1])
    assert stops.text(ids[:length]) == (before + stop)[: (before + stop).find(stop)]
    complete = [n for n in range(1, length + 1) if stops.is_complete(ids[:n])]
    assert complete == [length]


def test_of_two_stop_strings_the_one_that_ends_first_counts() -> None:
    stops, tokenizer = stops_of("fig and", "plum", "um")
    ids = tokenizer.encode("a fig, a plum and a fig and", add_special_tokens=False)
    length = stops.length(ids)
    assert tokenizer.decode(ids[:length]).startswith("a fig, a plum")
    assert stops.text(ids[:length]) == "a fig, a "


def test_a_text_that_goes_on_after_a_stop_string_is_left_as_it_is() -> None:
    """Samples of a table that was made without the stop string."""
    stops, tokenizer = stops_of("\n")
    ids = tokenizer.encode("one\ntwo", add_special_tokens=False)
    assert stops.text(ids) == "one\ntwo"
    assert StopStrings([], TokenText(tokenizer)).length(ids) is None
