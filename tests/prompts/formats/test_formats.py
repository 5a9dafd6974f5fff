"""Every format: the prompt that it makes of a row, and every reason for dropping a row."""

from typing import Any

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.prompts.base import DroppedRow, Prompt
from grao_pipeline.prompts.conversations import check_answerable
from grao_pipeline.prompts.detect import choose_format, format_named
from grao_pipeline.prompts.formats.question_answer import final_answer


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def hh(*turns: str) -> str:
    return "".join(f"\n\n{('Human', 'Assistant')[index % 2]}: {turn}" for index, turn in enumerate(turns))


FOUND: list[tuple[str, dict[str, Any], Prompt]] = [
    (
        "hh",
        {"chosen": hh("a", "b", "c", "good"), "rejected": hh("a", "b", "c", "bad"), "source": 3},
        Prompt([user("a"), assistant("b"), user("c")], "good", "bad", {"source": 3}),
    ),
    # An empty rejected answer becomes None; an empty chosen answer drops the row (below).
    ("hh", {"chosen": hh("a", "good"), "rejected": hh("a", "")}, Prompt([user("a")], "good", None, {})),
    (
        "preference",
        {"prompt": "a", "chosen": "good", "rejected": "bad", "score": 1.5},
        Prompt([user("a")], "good", "bad", {"score": 1.5}),
    ),
    ("preference", {"prompt": "a", "chosen": "good", "rejected": None}, Prompt([user("a")], "good", None, {})),
    (
        "preference",
        {"prompt": [system("s"), user("a")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        Prompt([system("s"), user("a")], "good", "bad", {}),
    ),
    # Implicit prompt: the turns that the conversations share.
    (
        "preference",
        {"chosen": [user("a"), assistant("good")], "rejected": [user("a"), assistant("bad")]},
        Prompt([user("a")], "good", "bad", {}),
    ),
    # UltraFeedback: the prompt as text, and again inside the conversations.
    (
        "preference",
        {"prompt": "a", "chosen": [user("a"), assistant("good")], "rejected": [user("a"), assistant("bad")]},
        Prompt([user("a")], "good", "bad", {}),
    ),
    # The conversations share further turns after the prompt.
    (
        "preference",
        {
            "prompt": "a",
            "chosen": [assistant("b"), user("c"), assistant("good")],
            "rejected": [assistant("b"), user("c"), assistant("bad")],
        },
        Prompt([user("a"), assistant("b"), user("c")], "good", "bad", {}),
    ),
    # The lists hold the prompt with other white space, after a system message, or as the last of several questions.
    *(
        (
            "preference",
            {"prompt": prompt, "chosen": [*turns, assistant("good")], "rejected": [*turns, assistant("bad")]},
            Prompt(turns, "good", "bad", {}),
        )
        for prompt, turns in (
            (" a\r\n", [user("a")]),
            ([user("a ")], [system("s"), user("a")]),
            ("c", [user("a"), assistant("b"), user("c")]),
            ("a", [user("a"), assistant("b"), user("c")]),
            ([user("a"), assistant("b")], [user("a"), assistant("b"), user("c")]),
        )
    ),
    # The system message of the prompt is not lost.
    (
        "preference",
        {"prompt": [system("s"), user("a")], "chosen": [user("a"), assistant("good")], "rejected": "bad"},
        Prompt([system("s"), user("a")], "good", "bad", {}),
    ),
    # Answers in text that both repeat a long prompt.
    (
        "preference",
        {
            "prompt": "Name a river of Italy. ",
            "chosen": "Name a river of Italy. Po",
            "rejected": "Name a river of Italy. X",
        },
        Prompt([user("Name a river of Italy. ")], " Po", " X", {}),
    ),
    (
        "hh",
        {"prompt": hh("a") + "\n\nAssistant:", "chosen": " good", "rejected": " bad"},
        Prompt([user("a")], "good", "bad", {}),
    ),
    (
        "hh",
        {"prompt": hh("a"), "chosen": hh("a", "good").replace("\n", "\r\n"), "rejected": hh("a", "bad")},
        Prompt([user("a")], "good", "bad", {}),
    ),
    # Texts and lists of messages may be mixed.
    (
        "preference",
        {"prompt": [user("a")], "chosen": "good", "rejected": [assistant("bad")]},
        Prompt([user("a")], "good", "bad", {}),
    ),
    (
        "prompt-completion",
        {"prompt": " a\n", "completion": " b ", "answer": "7"},
        Prompt([user(" a\n")], " b ", None, {"answer": "7"}),  # texts are unchanged
    ),
    (
        "prompt-completion",
        {"prompt": [user("a")], "completion": [assistant("b")]},
        Prompt([user("a")], "b", None, {}),
    ),
    ("prompt-completion", {"prompt": "a"}, Prompt([user("a")], None, None, {})),
    ("prompt-completion", {"prompt": 12, "completion": 1.0}, Prompt([user("12")], "1", None, {})),
    (
        "messages",
        {"messages": [system("s"), user("a"), assistant("b"), user("c"), assistant("d")], "tags": ["x"]},
        Prompt([system("s"), user("a"), assistant("b"), user("c")], "d", None, {"tags": ["x"]}),
    ),
    (
        "messages",
        {"messages": [user("a"), assistant("b"), user("c")]},
        Prompt([user("a"), assistant("b"), user("c")], None, None, {}),
    ),
    (
        "messages",  # empty system messages are left out; what a message cannot hold is named
        {"messages": [system(" "), {**user("a"), "name": "Ann", "stars": 3, "none": None}]},
        Prompt([{**user("a"), "name": "Ann"}], None, None, {}, lost=frozenset({"stars of a turn"})),
    ),
    (
        "question-answer",
        {"question": "2+2?", "answer": "It is 4.\n#### 4", "level": "easy"},
        Prompt([user("2+2?")], "It is 4.\n#### 4", None, {"answer": "4", "level": "easy"}),
    ),
    ("question-answer", {"question": "2+2?", "answer": 4}, Prompt([user("2+2?")], "4", None, {"answer": "4"})),
]


@pytest.mark.parametrize(("name", "row", "expected"), FOUND)
def test_a_format_makes_a_prompt_of_a_row(name: str, row: dict[str, Any], expected: Prompt) -> None:
    assert format_named(name).convert(row) == expected


@pytest.mark.parametrize(("name", "row", "expected"), FOUND)
def test_auto_chooses_the_format_by_the_columns(name: str, row: dict[str, Any], expected: Prompt) -> None:
    empty: dict[str, Any] = dict.fromkeys(row)  # values may be missing in the first row
    assert choose_format("auto", {column: column for column in row}, [empty, row]).format.name == name


DROPPED: list[tuple[str, dict[str, Any], str]] = [
    ("hh", {"chosen": None, "rejected": hh("a", "b")}, "chosen is missing"),
    ("hh", {"chosen": hh("a", "b"), "rejected": None}, "rejected is missing"),
    ("hh", {"chosen": ["a"], "rejected": hh("a", "b")}, "chosen is not text"),
    ("hh", {"chosen": hh("a", ""), "rejected": hh("a", "b")}, "the reference is empty"),
    ("hh", {"chosen": hh("a", "b"), "rejected": hh("a", "b")}, "chosen and rejected are the same"),
    ("hh", {"chosen": hh("a", "b"), "rejected": hh("z", "c")}, "chosen and rejected differ before the last turn"),
    # A marker inside an answer must not cut the answer short: the transcripts disagree, so the row is dropped.
    (
        "hh",
        {"chosen": hh("a", "one\n\nHuman: hm\n\nAssistant: two"), "rejected": hh("a", "no")},
        "chosen and rejected differ before the last turn",
    ),
    (
        "hh",
        {"chosen": hh("a", "one\n\nHuman: hm"), "rejected": hh("a", "no")},
        "the transcript does not end in an Assistant turn",
    ),
    ("preference", {"prompt": None, "chosen": "b", "rejected": "c"}, "the prompt is missing"),
    ("preference", {"chosen": [assistant("b")], "rejected": [assistant("c")]}, "the prompt is missing"),
    ("preference", {"prompt": "a", "chosen": None, "rejected": "c"}, "chosen is missing"),
    (
        "preference",
        {"prompt": "z", "chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
        "prompt and chosen are different conversations",
    ),
    ("preference", {"prompt": "a", "chosen": " ", "rejected": "c"}, "the reference is empty"),
    ("preference", {"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen and rejected are the same"),
    (
        "preference",
        {"chosen": [user("a"), assistant("b")], "rejected": [user("z"), assistant("c")]},
        "chosen and rejected differ before the last turn",
    ),
    (
        "preference",
        {"chosen": [user("a"), user("b")], "rejected": [user("a"), assistant("c")]},
        "chosen or rejected does not end in an assistant turn",
    ),
    ("prompt-completion", {"prompt": None, "completion": "b"}, "prompt is missing"),
    ("prompt-completion", {"prompt": "  ", "completion": "b"}, "the prompt is empty"),
    ("prompt-completion", {"prompt": [], "completion": "b"}, "prompt is empty"),
    ("prompt-completion", {"prompt": True, "completion": "b"}, "prompt is not text"),
    ("prompt-completion", {"prompt": "a", "completion": None}, "completion is missing"),
    ("prompt-completion", {"prompt": "a", "completion": "\n"}, "the reference is empty"),
    ("prompt-completion", {"prompt": "a", "completion": [user("b")]}, "completion is not one assistant turn"),
    (
        "prompt-completion",
        {"prompt": [user("a"), assistant("b")], "completion": "c"},
        "the conversation does not end in a user turn",
    ),
    ("messages", {"messages": None}, "messages is missing"),
    ("messages", {"messages": "a"}, "messages is not a list"),
    ("messages", {"messages": ["a"]}, "messages is not a list of messages with role and content"),
    (
        "messages",
        {"messages": [{"by": "human", "value": "a"}]},
        "messages is not a list of messages with role and content",
    ),
    ("messages", {"messages": [{"role": "bot", "content": "a"}]}, "messages has a turn of an unknown role"),
    ("messages", {"messages": [{"role": "user", "content": None}]}, "messages has a turn without text"),
    ("messages", {"messages": []}, "messages is empty"),
    ("messages", {"messages": [assistant("b")]}, "the conversation does not end in a user turn"),
    ("messages", {"messages": [system("s"), assistant("b")]}, "the conversation does not end in a user turn"),
    ("messages", {"messages": [user(""), assistant("b"), user("c")]}, "the prompt has an empty turn"),
    ("messages", {"messages": [user("a"), assistant("")]}, "the reference is empty"),
    ("question-answer", {"question": None, "answer": "4"}, "question is missing"),
    ("question-answer", {"question": "a", "answer": None}, "answer is missing"),
    ("question-answer", {"question": "a", "answer": ""}, "the reference is empty"),
]


@pytest.mark.parametrize(("name", "row", "reason"), DROPPED)
def test_an_unusable_row_is_dropped_with_its_reason(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(DroppedRow) as dropped:
        check_answerable(format_named(name).convert(row).messages)
    assert str(dropped.value) == reason


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("so 4\n#### 4", "4"),
        ("so 1,200\n####  1,200 \n", "1200"),
        ("####-3.5", "-3.5"),
        ("4", "4"),
        ("#### 4\nis the answer", "#### 4\nis the answer"),  # not the last line
        ("so 4\n####", "so 4\n####"),  # nothing after the marker
        ("#### -1,234,567.50", "-1234567.50"),
        ("#### $1,200", "$1200"),
        # Commas that do not separate thousands are the answer's own.
        ("#### (3, 5)", "(3, 5)"),
        ("#### 1,2,3", "1,2,3"),
        ("#### 1,200, 3", "1,200, 3"),
        ("#### 12,34", "12,34"),
        ("#### Paris, France", "Paris, France"),
        ("#### [1,000)", "[1,000)"),
    ],
)
def test_the_final_answer_follows_the_marker_on_the_last_line(solution: str, expected: str) -> None:
    assert final_answer(solution) == expected


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        ({"Frage": "a", "Antwort": "b"}, ["fit no format", "Frage, Antwort", "question-answer", "--map"]),
        ({"prompt": "a", "chosen": "b"}, ["fit no format", "prompt, chosen", "preference"]),
        ({"chosen": 1, "rejected": 2}, ["fit no format", "hh", "preference"]),
        (
            {"messages": [user("a")], "prompt": "a"},
            ["fit several formats", "messages", "prompt-completion", "--format"],
        ),
        ({"question": "a", "answer": "b", "prompt": "c"}, ["fit several formats", "question-answer"]),
    ],
)
def test_ambiguous_or_unknown_columns_are_refused_with_the_choices(row: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        choose_format("auto", {column: column for column in row}, [row])
    for fragment in fragments:
        assert fragment in str(error.value)


def test_a_named_format_without_its_column_is_refused() -> None:
    with pytest.raises(UsageError, match=r"format: 'question-answer' needs a column 'answer'.*Columns: question,"):
        choose_format("question-answer", {"question": "question", "label": "label"}, [])


def test_naming_the_format_settles_an_ambiguity() -> None:
    columns = {"messages": "messages", "prompt": "prompt"}
    assert choose_format("messages", columns, []).format.name == "messages"
