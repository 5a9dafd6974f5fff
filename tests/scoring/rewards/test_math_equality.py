"""`math`: equal forms, missing answers, endless comparisons; and solutions that people have judged."""

import threading
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from tests.scoring.common import judge, rewards
from tests.scoring.rewards.test_gsm8k import MODELS, judged_solutions


@pytest.mark.parametrize(
    ("expected", "equal", "different"),
    [
        (
            "1/2",
            ["0.5", "2/4", r"$\frac{1}{2}$", r"\frac12", "The answer is 1/2.", r"so \boxed{\frac{2}{4}}", "#### 0.50"],
            ["2", r"$\frac{1}{3}$", "The answer is 0.25 and not 1/2"],
        ),
        ("x^2-1", ["$(x-1)(x+1)$", "x**2 - 1", "The answer is x^2-1.", r"\[ x^2-1 \]"], ["x^2+1", "$y^2-1$"]),
        (r"\sqrt{2}", ["sqrt(2)", r"\(2^{1/2}\)", "1.41421356237"], ["1.41", "2"]),
        (r"$2\pi$", [r"2\pi", "2*pi", r"\boxed{2\pi}"], ["2", "6.28"]),
        ("3 1/2", ["3.5", r"$3\frac{1}{2}$"], ["31/2"]),
        ("50%", ["50%", "50", "0.5"], ["5"]),
        ("1e5", ["100000", "100,000", "$10^5$"], ["1"]),
        (r"\{1, 2\}", [r"$\{2, 1\}$"], [r"$\{1, 3\}$"]),
        ("(1, 2)", ["$(1,2)$"], ["$[1,2]$", "$(2,1)$"]),
        ("x = 5", ["5", "$x=5$"], ["$x=6$"]),
        ("18", ["$18", r"\$18.00", "18 dollars", "A: 18 apples, 3 of them red\nBye 7", "**18**"], ["A: 1.8"]),
        (r"\text{east}", [r"$\text{east}$"], [r"$\text{west}$"]),
        (18, ["18.0"], ["81"]),
    ],
)
def test_equal_is_what_is_mathematically_equal(expected: Any, equal: list[str], different: list[str]) -> None:
    values = rewards(judge("math", [*equal, *different], answer=expected))
    assert values == [1.0] * len(equal) + [0.0] * len(different)


@pytest.mark.parametrize(
    ("expected", "equal", "different"),
    [
        ("0.0000001", [r"\boxed{1e-7}", r"$10^{-7}$"], [r"\boxed{0.0000002}", "0"]),
        (r"\frac{1}{2^{99}}", [r"\boxed{2^{-99}}"], [r"\boxed{\frac{1}{2^{98}}}"]),
        (r"6.626 \times 10^{-34}", ["6.626e-34"], [r"\boxed{6.6 \times 10^{-34}}", "0"]),
        (r"\frac{1}{2004!}", [r"\boxed{\frac{1}{2004!}}"], [r"\boxed{\frac{1}{2006!}}"]),
        (r"\{10^{-7}\}", [r"\boxed{\{10^{-7}\}}"], [r"\boxed{\{2 \cdot 10^{-7}\}}"]),
        ("10^{-19} x", [r"\boxed{x \cdot 10^{-19}}"], [r"\boxed{3 \cdot 10^{-19} x}"]),
        ("1234567", ["1,234,567", "1234567.0"], ["1234568", "1234568.0"]),
        (r"1000\pi", ["3141.592654"], ["3141.6"]),
        (r"\frac{1}{3}", ["0.333333"], ["0.3333"]),
    ],
)
def test_exact_numbers_are_compared_exactly_and_decimals_relatively(
    expected: str, equal: list[str], different: list[str]
) -> None:
    values = rewards(judge("math", [*equal, *different], answer=expected))
    assert values == [1.0] * len(equal) + [0.0] * len(different)


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        (
            "4",
            ["x = 4", "2 + 2 = 4", "x = y = 4", "4 = 4.0"],
            ["5 = 4", "1 = 2 = 4", "2 + 2 = 5 = 4", "4 = 5", "3 + 2 = 4"],
        ),
        (r"\frac{1}{3}", [r"\frac{2}{6} = \frac{1}{3}"], [r"\frac{1}{2} = \frac{1}{3}"]),
        ("0.33", [r"\frac{1}{3} = 0.33"], [r"\frac{1}{2} = 0.33"]),
        ("3, 4", ["3, 4"], ["3, 5 = 4"]),
    ],
)
@pytest.mark.slow
def test_a_wrong_equation_states_no_answer(expected: str, right: list[str], wrong: list[str]) -> None:
    judgements = judge("math", [rf"\boxed{{{text}}}" for text in [*right, *wrong]], answer=expected)
    assert [judgement.reward for judgement in judgements] == [1.0] * len(right) + [0.0] * len(wrong)


@pytest.mark.parametrize(
    ("expected", "whole", "part"),
    [
        (r"1-\frac{1}{\mathrm{e}}", r"1-\frac{1}{e}", "1"),
        (r"\begin{pmatrix} 4 & -1 \\ 0 & 7 \end{pmatrix}", r"\begin{bmatrix} 4 & -1 \\ 0 & 7 \end{bmatrix}", "7"),
        ("512 and 729", "729, 512", "729"),
        (r"-2 \text{ or } 4", "-2, 4", "4"),
        ("$512$ and $729$", r"512 \text{ and } 729", "512"),
        (r"3 \pm \sqrt{2}", r"3+\sqrt{2}, 3-\sqrt{2}", r"3+\sqrt{2}"),
        ("(-∞, 1) ∪ (2, ∞)", r"(-\infty,1)\cup(2,\infty)", r"(-\infty,1)"),
        ("[1, 2)", r"x \in [1,2)", "[1,2]"),
        ("2/3 cups", r"\frac{2}{3}", "2"),
        (r"9\,500", "9500", "500"),
        ("1.234.567", "1234567", "1.234"),
        (r"\log_2 3", r"\log_2 3", "3"),
        ("1011_2", "1011_2", "1011_3"),
        ("Evelyn", r"\text{Evelyn}", r"\text{Bob}"),
        (r"x=1 \text{ and } y=2", "x=1, y=2", "2"),
        (r"\boxed{2} and \boxed{3}", "2, 3", "3"),
        ("So it is 7.\n#### 7", "7", "0"),
    ],
)
def test_the_expected_answer_is_read_whole(expected: str, whole: str, part: str) -> None:
    texts = [rf"So \boxed{{{whole}}}.", f"The answer is ${whole}$.", rf"So \boxed{{{part}}}."]
    assert rewards(judge("math", texts, answer=expected)) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "expected",
    [
        *("12 7", r"4 \quad 5", "7 is bigger than 8", r"\frac{3}{4} \text{ of } 7", r"7, \text{ where } x > 3"),
        *(r"0.\overline{3}", r"x \equiv 3 \pmod 5", r"\begin{cases} x=1 \\ y=2 \end{cases}", "1.234,5", ""),
        r"First \boxed{2}, but then \boxed{3}.",
    ],
)
def test_an_expected_answer_that_cannot_be_read_whole_is_an_error(expected: str) -> None:
    for judgement in judge("math", [r"\boxed{7}", r"\boxed{3}"], answer=expected):
        assert (judgement.reward, judgement.status) == (None, "error")


@pytest.mark.slow
def test_an_unreadable_answer_is_wrong() -> None:
    unread = Judgement(0.0, "ok", "no readable answer")
    assert judge("math", ["I have no idea", "", "\ud800"], answer="5") == [unread] * 3
    (judgement,) = judge("math", ["5"], answer="a good question")
    problem = "the expected answer cannot be read: metadata 'answer' is 'a good question'"
    assert judgement == Judgement(None, "error", problem)
    missing = Judgement(None, "error", "metadata has no 'answer' to compare with")
    assert judge("math", ["5"]) == judge("math", ["5"], answer=None) == [missing]
    assert rewards(judge("math", ["5"], "field=gold", gold="5")) == [1.0]


@pytest.mark.slow
def test_an_endless_comparison_is_stopped_in_any_thread() -> None:
    """9^9^9^9 is worked out in C code, where neither a signal's handler nor another thread can interrupt it."""
    texts = ["5", "$9^{9^{9^{9}}}$", "6", f"${'(' * 3000}1{')' * 3000}$", "$5$"]
    judgements: list[Judgement] = []

    def work() -> None:
        judgements.extend(judge("math", texts, "timeout=1", "workers=1", answer="5"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert rewards(judgements) == [1.0, None, 0.0, None, 1.0]
    assert judgements[1] == Judgement(None, "error", "no result within 1 s")


@pytest.mark.slow
def test_it_agrees_with_people_on_real_solutions(real_data: Path) -> None:
    reward = make_reward(ScoreOptions(reward="math"))
    rows = [
        (row[model], row["ground_truth"].rpartition("A:")[2]) for row in judged_solutions(real_data) for model in MODELS
    ]
    candidates = [Candidate([], solved["solution"], None, {"answer": expected}) for solved, expected in rows]
    values = [judgement.reward == 1.0 for judgement in reward.score(candidates)]
    assert values == [solved["is_correct"] for solved, _ in rows]


@pytest.mark.parametrize("argument", ["timeout=0", "timeout=soon", "workers=0", "workers=1.5"])
def test_a_wrong_argument_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match=f"reward_arg: {argument}: input should be .* \\(reward 'math'\\)"):
        judge("math", ["5"], argument, answer="5")


def test_the_timeout_changes_the_fingerprint_and_the_workers_do_not() -> None:
    def identity(*arguments: str) -> Any:
        return make_reward(ScoreOptions(reward="math", reward_arg=list(arguments))).identity()

    assert identity("workers=1") == identity("workers=7") != identity("timeout=9")
