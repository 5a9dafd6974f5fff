"""Diversity of a text, by hand."""

import math

import pytest

from grao_pipeline.errors import UsageError
from tests.scoring.common import judge, made


def part(name: str, text: str) -> float:
    (judgement,) = judge("diversity", [text], "yule_scale=1250", f'parts=["{name}"]')
    assert judgement.reward is not None
    return judgement.reward


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("types", "a b a c", 0.75),
        ("entropy", "a b a c", 0.946395),
        # K = 10⁴ (1·2 + 4·1 − 4) / 16 = 1250, which is the scale.
        ("yule", "a b a c", 0.5),
        # Of 2 and 4 words: 1/3.
        ("lengths", "One two. One two three four!", 1 / 3),
        # A statement, a question, a statement.
        ("sentences", "Yes. No? Yes.", -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(2)),
        # {a, b} and {b, c}: 1 − 1/3.
        ("change", "a b. b c.", 2 / 3),
        # (a, b), (b, a), (a, b).
        ("bigrams", "a b a b", 2 / 3),
        # the, of, the: p = (2/3, 1/3).
        ("function-words", "the cat of the house", 0.918296),
        ("lengths", "one sentence", 0.0),
        ("bigrams", "word", 0.0),
    ],
)
def test_every_part_is_its_formula(name: str, text: str, expected: float) -> None:
    assert part(name, text) == pytest.approx(expected, abs=1e-6)


def test_the_reward_is_the_mean_of_the_parts_and_an_empty_text_gets_nothing() -> None:
    names = ["types", "entropy", "lengths", "sentences", "change", "yule", "bigrams", "function-words"]
    text = "The cat sat. Did it of all cats? It did!"
    (whole, empty) = judge("diversity", [text, " .!"], "yule_scale=1250")
    assert whole.reward == pytest.approx(sum(part(name, text) for name in names) / 8)
    assert empty.reward == 0


def test_its_scale_must_be_given_and_its_parts_exist() -> None:
    with pytest.raises(UsageError, match="yule_scale"):
        made("diversity")
    with pytest.raises(UsageError, match="there is no part 'rhyme'"):
        made("diversity", "yule_scale=1", 'parts=["rhyme"]')
