"""HH transcripts: parsing is the inverse of writing; other texts are dropped with the right reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.prompts.base import DroppedRow
from grao_pipeline.prompts.transcripts import parse_transcript

MARKERS = ("\n\nHuman:", "\n\nAssistant:")


def render(texts: list[str]) -> str:
    """A transcript as the data set has it: speakers alternate, the human begins."""
    return "".join(f"{MARKERS[index % 2]} {text}" for index, text in enumerate(texts))


def roles(count: int) -> list[str]:
    return [("user", "assistant")[index % 2] for index in range(count)]


# Texts that resemble the structure: newlines, colons, and the speakers' names inside a paragraph.
fragments = st.sampled_from(["\n", "\n\n", " ", "Human:", "Assistant:", "Human", ":", "human:", "x", "é", "1.\n\n2."])
texts = (
    st.lists(fragments, min_size=1, max_size=8)
    .map("".join)
    .map(str.strip)
    .filter(lambda text: bool(text) and not any(marker in text for marker in MARKERS))
)


@given(st.lists(texts, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0))
def test_a_rendered_conversation_is_parsed_back_to_the_same_turns(turns: list[str]) -> None:
    expected = [{"role": role, "content": text} for role, text in zip(roles(len(turns)), turns, strict=True)]
    assert parse_transcript(render(turns)) == expected


@given(st.lists(st.sampled_from(["\n\nHuman:", "\n\nAssistant:", "Human:", "\n\n", " ", "a"]), max_size=8).map("".join))
def test_any_string_is_either_a_conversation_or_dropped(text: str) -> None:
    try:
        messages = parse_transcript(text)
    except DroppedRow:
        return
    names = {"user": "Human", "assistant": "Assistant"}
    rendered = "".join(f"{names[message['role']]}:{message['content']}" for message in messages)
    assert messages[-1]["role"] == "assistant"
    assert "".join(rendered.split()) == "".join(text.split())  # only white space may differ


def test_a_marker_inside_a_paragraph_is_text() -> None:
    text = "\n\nHuman: Say 'Assistant:'\n\nAssistant: Human: I will.\nAssistant: done"
    assert [m["content"] for m in parse_transcript(text)] == ["Say 'Assistant:'", "Human: I will.\nAssistant: done"]


def test_a_transcript_may_lack_the_newlines_at_its_start() -> None:
    assert parse_transcript("Human: a\n\nAssistant: b") == parse_transcript("\n\nHuman: a\n\nAssistant: b")


def test_the_last_turn_may_be_empty() -> None:
    assert parse_transcript("\n\nHuman: a\n\nAssistant: ")[-1] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the transcript does not start with a Human turn"),
        ("hello", "the transcript does not start with a Human turn"),
        ("hello\n\nHuman: a\n\nAssistant: b", "the transcript does not start with a Human turn"),
        ("\n\nAssistant: b", "the transcript does not start with a Human turn"),
        ("\n\nHuman: a", "the transcript does not end in an Assistant turn"),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "the transcript does not end in an Assistant turn"),
        ("\n\nHuman: \n\nAssistant: c", "a turn before the last is empty"),
    ],
)
def test_other_texts_are_dropped_with_their_reason(text: str, reason: str) -> None:
    with pytest.raises(DroppedRow) as dropped:
        parse_transcript(text)
    assert str(dropped.value) == reason
