"""exact-match, regex and length, on cases worked out by hand; and what a judgement may be."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.score import make_reward
from tests.scoring.common import judge, rewards


@pytest.mark.parametrize(
    ("completion", "answer", "arguments", "expected"),
    [
        ("five", "five", [], 1),
        ("  five\n", "five", [], 1),  # both sides are stripped
        ("five", " five ", [], 1),
        ("Five", "five", [], 0),
        ("Five", "fIVE", ["ignore_case=true"], 1),
        ("STRASSE", "straße", ["ignore_case=TRUE"], 1),  # case folding, not lower-casing
        ("five.", "five", [], 0),
        ("it is five", "five", [], 0),
        ("", "", [], 1),
        ("5", 5, [], 1),  # the number in the metadata as JSON writes it
        ("2.5", 2.5, [], 1),
        ("5", 5.0, [], 0),
    ],
)
def test_exact_match_compares_the_stripped_texts(
    completion: str, answer: Any, arguments: list[str], expected: float
) -> None:
    assert judge("exact-match", [completion], *arguments, answer=answer) == [Judgement(expected, "ok")]


def test_exact_match_reads_the_field_that_it_is_given() -> None:
    assert rewards(judge("exact-match", ["a", "b"], "field=label", answer="a", label="b")) == [0, 1]
    assert rewards(judge("exact-match", ["a", "b"], "field=reference", answer="a", reference="b")) == [0, 1]


@pytest.mark.parametrize("metadata", [{}, {"answer": None}, {"Answer": "five"}])
def test_exact_match_without_an_answer_is_an_error_and_no_zero(metadata: dict[str, Any]) -> None:
    found = judge("exact-match", ["five"], **metadata)
    assert found == [Judgement(None, "error", "no 'answer' in the metadata to compare with")]
    assert judge("exact-match", ["x"], "field=reference") == [Judgement(None, "error", "no reference to compare with")]


@pytest.mark.parametrize(
    ("completion", "pattern", "full", "expected"),
    [
        ("The answer is 5.", r"answer is \d", False, 1),
        ("The answer is five.", r"answer is \d", False, 0),
        ("one\ntwo", "one.two", False, 1),  # a point matches a line break
        ("one\ntwo", "^two", False, 0),  # ^ is the beginning of the text
        ("one\ntwo", "(?m)^two", False, 1),
        ("yes", "yes|no", True, 1),
        (" yes \n", "yes|no", True, 1),  # full: of the stripped completion
        ("yes!", "yes|no", True, 0),
        ("ends in a space ", r"\s$", False, 1),  # a search sees the completion as it is
        ("", "", False, 1),
        ("", ".", False, 0),
        ("a=b", "a=b", False, 1),  # only the first = of key=value separates
    ],
)
def test_regex_finds_its_pattern(completion: str, pattern: str, full: bool, expected: float) -> None:
    arguments = [f"pattern={pattern}", f"full={str(full).lower()}"]
    assert judge("regex", [completion], *arguments) == [Judgement(expected, "ok")]


@pytest.mark.parametrize(
    ("completion", "arguments", "expected", "detail"),
    [
        ("one two three four", ["target=4"], 1.0, "4 words"),
        ("one two", ["target=4"], 0.5, "2 words"),  # 1 − |2 − 4| / 4
        ("one  two\nthree", ["target=4"], 0.75, "3 words"),
        ("", ["target=4"], 0.0, "0 words"),
        ("a b c d e f g", ["target=4"], 0.25, "7 words"),
        ("a b c d e f g h", ["target=4"], 0.0, "8 words"),
        ("a " * 50, ["target=4"], 0.0, "50 words"),  # never below 0
        ("äöü ß", ["target=10", "unit=characters"], 0.5, "5 characters"),  # letters, not bytes
    ],
)
def test_length_falls_linearly_from_its_target(
    completion: str, arguments: list[str], expected: float, detail: str
) -> None:
    assert judge("length", [completion], *arguments) == [Judgement(expected, "ok", detail)]


@given(st.integers(1, 500), st.integers(0, 2000))
def test_length_is_in_0_to_1_and_symmetric_about_its_target(target: int, length: int) -> None:
    found = judge("length", ["x" * length], f"target={target}", "unit=characters")[0].reward
    assert found is not None
    assert 0 <= found <= 1
    assert found == pytest.approx(max(0.0, 1 - abs(length - target) / target), abs=1e-12)


@pytest.mark.parametrize(
    ("reward", "arguments", "message"),
    [
        ("exact-match", ["ignore_case=yes"], "ignore_case=yes: reward 'exact-match' needs true or false"),
        ("exact-match", ["fields=a"], "fields: reward 'exact-match' has no such argument. It has: field, ignore_case"),
        ("regex", [], "Reward 'regex' needs --reward-arg pattern=…"),
        ("regex", ["pattern=(a"], r"pattern=\(a: not a regular expression \(missing \), unterminated subpattern"),
        ("regex", ["pattern=a", "full=1"], "full=1: reward 'regex' needs true or false"),
        ("length", [], "Reward 'length' needs --reward-arg target=…"),
        ("length", ["target=0"], "target=0: reward 'length' needs a positive whole number"),
        ("length", ["target=-3"], "needs a positive whole number"),
        ("length", ["target=2.5"], "needs a positive whole number"),
        ("length", ["target=5", "unit=bytes"], "unit=bytes: reward 'length' knows words, characters"),
        ("gsm8k", ["file=x"], "file: reward 'gsm8k' has no such argument"),
        ("length", ["target"], "reward_arg: 'target': expected key=value"),
        ("lenght", [], "Unknown reward 'lenght'. Built in: exact-match, gsm8k"),
    ],
)
def test_wrong_arguments_are_wrong_usage(reward: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_reward(ScoreOptions(reward=reward, reward_arg=arguments))


@pytest.mark.parametrize(
    "value", [None, "1", math.nan, math.inf, -math.inf, 1e39, -1e39, 10**400, [1], 1j], ids=lambda value: str(value)[:9]
)
def test_what_is_no_finite_float32_is_no_reward(value: Any) -> None:
    found = Judgement.of(value, "a detail")
    assert (found.reward, found.status) == (None, "error")
    assert "not a finite" in str(found.detail)


@pytest.mark.parametrize("value", [0, 1, -2.5, True, 3.4e38, 1e-300])
def test_every_other_number_is(value: float) -> None:
    assert Judgement.of(value, "a detail") == Judgement(float(value), "ok", "a detail")


@pytest.mark.parametrize(("reward", "status"), [(None, "ok"), (1.0, "error"), (0.0, "unparsable"), (1.0, "truncated")])
def test_a_judgement_has_a_reward_exactly_where_it_is_ok(reward: float | None, status: str) -> None:
    with pytest.raises(ValueError, match="a reward is present exactly where the status is 'ok'"):
        Judgement(reward, status)
