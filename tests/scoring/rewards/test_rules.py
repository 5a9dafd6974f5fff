"""exact-match, regex and length, on cases worked out by hand; and which values are rewards."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.errors import UsageError
from grao_pipeline.schemas import Status
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Judgement
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


@pytest.mark.parametrize(
    ("metadata", "others"),
    [
        ({}, ""),
        ({"answer": None}, ""),
        ({"gold": "five", "Answer": "5", "level": None}, "; it has: Answer, gold. Name one with field=NAME"),
    ],
)
def test_exact_match_without_an_answer_is_an_error(metadata: dict[str, Any], others: str) -> None:
    judgements = judge("exact-match", ["five"], **metadata)
    assert judgements == [Judgement(None, "error", f"metadata has no 'answer' to compare with{others}")]
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


@pytest.mark.slow
def test_a_search_that_never_ends_is_an_error_and_the_next_one_is_done() -> None:
    texts = ["word " * 40 + "!", "fine words"]
    judgements = judge("regex", texts, r"pattern=^(\w+\s?)+$", "timeout=0.5")
    assert judgements == [Judgement(None, "error", "no result within 0.5 s"), Judgement(1.0, "ok")]


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
    reward = judge("length", ["x" * length], f"target={target}", "unit=characters")[0].reward
    assert reward is not None
    assert 0 <= reward <= 1
    assert reward == pytest.approx(max(0.0, 1 - abs(length - target) / target), abs=1e-12)


@pytest.mark.parametrize(
    ("reward", "arguments", "message"),
    [
        (
            "exact-match",
            ["ignore_case=maybe"],
            r"ignore_case=maybe: input should be a valid boolean.* \(reward 'exact-match'\)",
        ),
        (
            "exact-match",
            ["fields=a"],
            r"reward 'exact-match' has no argument 'fields'\. Did you mean field\? It has: field",
        ),
        ("regex", [], "reward 'regex' needs pattern=…"),
        ("regex", ["pattern=(a"], r"pattern=\(a: not a regular expression \(missing \), unterminated subpattern"),
        ("regex", ["pattern=a", "full=2"], "full=2: input should be a valid boolean"),
        ("length", [], "reward 'length' needs target=…"),
        ("length", ["target=0"], "target=0: input should be greater than 0"),
        ("length", ["target=-3"], "target=-3: input should be greater than 0"),
        ("length", ["target=2.5"], "target=2.5: input should be a valid integer"),
        ("length", ["target=5", "unit=bytes"], "unit=bytes: input should be 'words' or 'characters'"),
        ("gsm8k", ["file=x"], "reward 'gsm8k' has no argument 'file'"),
        ("length", ["target"], "reward_arg: 'target': expected key=value"),
        ("lenght", [], "unknown reward 'lenght'. Did you mean length"),
    ],
)
def test_wrong_arguments_are_named(reward: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_reward(ScoreOptions(reward=reward, reward_arg=arguments))


@pytest.mark.parametrize(
    "value",
    [
        *("1", "nan", math.nan, math.inf, -math.inf, 1e39, -1e39, 1e40, 10**400, [1], 1j, {"item": 1}),
        *(np.float32("nan"), np.float64(1e40), np.array([1.0, 2.0]), np.str_("1"), np.complex64(1)),
        *(torch.tensor(math.inf), torch.tensor([1.0, 2.0]), torch.tensor([])),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_anything_but_a_finite_float32_is_an_error(value: object) -> None:
    judgement = Judgement.of(value, "a detail")
    assert (judgement.reward, judgement.status) == (None, "error")
    assert "not a finite" in str(judgement.detail)


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -2.5, True, 3.4e38, 1e-300),
        *(np.float32(0.5), np.float16(0.5), np.int64(1), np.uint8(7), np.bool_(True), np.array(2.5)),
        *(torch.tensor(0.5), torch.tensor(2), torch.tensor(True), torch.tensor([0.25])),
        float(np.finfo(np.float32).max),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_number_of_python_numpy_or_torch_is_a_reward(value: Any) -> None:
    judgement = Judgement.of(value, "a detail")
    assert judgement == Judgement(float(value), "ok", "a detail")
    assert type(judgement.reward) is float


@pytest.mark.parametrize(("reward", "status"), [(None, "ok"), (1.0, "error"), (0.0, "unparsable"), (1.0, "truncated")])
def test_a_judgement_has_a_reward_exactly_where_it_is_ok(reward: float | None, status: Status) -> None:
    with pytest.raises(ValueError, match="a reward is present exactly where the status is 'ok'"):
        Judgement(reward, status)
