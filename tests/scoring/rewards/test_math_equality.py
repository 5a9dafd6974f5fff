"""`math`: equal forms, missing answers, endless comparisons; and solutions that people have judged."""

import threading
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.score import make_reward
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


def test_an_unreadable_answer_is_wrong() -> None:
    unread = Judgement(0.0, "ok", "no readable answer")
    assert judge("math", ["no idea", "", "\ud800"], answer="5") == [unread] * 3
    (judgement,) = judge("math", ["5"], answer="a good question")
    assert judgement == Judgement(None, "error", "metadata 'answer' cannot be parsed as math: 'a good question'")
    missing = Judgement(None, "error", "metadata has no 'answer' to compare with")
    assert judge("math", ["5"]) == judge("math", ["5"], answer=None) == [missing]
    assert rewards(judge("math", ["5"], "field=gold", gold="5")) == [1.0]


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
