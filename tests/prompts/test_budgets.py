"""How often prompts are sampled: budgets against numbers worked by hand and against every possible choice."""

import itertools
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.prompts.budgets.failed import failed
from grao_pipeline.prompts.budgets.knapsack import knapsack
from grao_pipeline.prompts.budgets.spread import spread
from grao_pipeline.prompts.history_functions import load_budget
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.prompts.test_curriculum import prompts_table, write_history

Rewards = list[float] | None


def history(*rewards: Rewards) -> pl.DataFrame:
    """Prompts with these rewards in their only round; None: never seen."""
    schema = {"rewards": pl.List(pl.Float64), "last": pl.List(pl.Float64)}
    return pl.DataFrame({"rewards": list(rewards), "last": list(rewards)}, schema=schema)


def outcomes(successes: int, samples: int) -> Any:
    return [1.0] * successes + [0.0] * (samples - successes)


def value(rate: float, samples: int) -> float:
    """Of a group of this size, as arXiv 2509.25849 has it."""
    return float((1 - rate**samples - (1 - rate) ** samples) * rate * (1 - rate) ** 2)


def every_share(total: int, prompts: int, least: int) -> list[tuple[int, ...]]:
    """All ways to share `total` samples."""
    choices = itertools.product(range(least, total + 1), repeat=prompts)
    return [counts for counts in choices if sum(counts) == total]


def test_knapsack_gives_what_was_worked_by_hand() -> None:
    two = history(outcomes(5, 10), outcomes(1, 10))
    assert knapsack(two, 6, success_threshold=0.5) == [4, 2]
    assert knapsack(two, 8, success_threshold=0.5) == [5, 3]
    three = history(outcomes(8, 16), outcomes(4, 16), outcomes(1, 10))
    assert knapsack(three, 12, success_threshold=0.5) == [4, 6, 2]


@given(st.lists(st.integers(1, 15), min_size=1, max_size=3), st.integers(0, 8), st.integers(1, 3))
def test_no_other_share_of_the_samples_is_worth_more_than_knapsacks(
    successes: list[int], further: int, least: int
) -> None:
    total = least * len(successes) + further
    counts = knapsack(history(*(outcomes(n, 16) for n in successes)), total, success_threshold=0.5, least=least)
    assert sum(counts) == total

    def worth(shares: Any) -> float:
        return sum(value(n / 16, share) for n, share in zip(successes, shares, strict=True))

    best = max(map(worth, every_share(total, len(successes), least)))
    assert worth(counts) == pytest.approx(best, rel=1e-12)


def test_knapsack_spares_solved_and_hopeless_prompts_and_gives_unknown_ones_the_mean() -> None:
    # Of 30 samples 2 each for the solved and the hopeless prompt; the mean of 6 for the unseen one and the one with two
    # outcomes; and what remains, 14, for the only one that gains.
    prompts = history(outcomes(9, 9), outcomes(0, 9), None, outcomes(1, 2), outcomes(4, 8))
    assert knapsack(prompts, 30, success_threshold=0.5) == [2, 2, 6, 6, 14]
    assert knapsack(prompts, 30, success_threshold=0.5, most=9) == [2, 2, 6, 6, 9]
    assert knapsack(prompts, 30, success_threshold=0.5, enough=10) == [6] * 5
    # The newest eight outcomes are failures.
    assert knapsack(history([1.0] * 8 + [0.0] * 8), 9, success_threshold=0.5, window=8) == [2]


def test_spread_gives_what_was_worked_by_hand() -> None:
    # p = 4/6 and 1/6: σ = 0.471405 and 0.372678; 8 σ/Σσ = 4.467852 and 3.532148.
    assert spread(history(outcomes(3, 4), outcomes(0, 4)), 8, success_threshold=0.5) == [4, 4]
    assert spread(history(outcomes(3, 4), outcomes(0, 4)), 9, success_threshold=0.5) == [5, 4]  # 5.03, 3.97
    # p = ½ and 1/102: σ = 0.5 and 0.0985; 6 σ/Σσ = 5.01 and 0.99, below the least.
    assert spread(history(None, outcomes(0, 100)), 6, success_threshold=0.5) == [4, 2]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 7), st.integers(1, 2))
def test_spread_is_the_nearest_whole_share_to_the_deviations(successes: list[int], further: int, least: int) -> None:
    total = least * len(successes) + further
    counts = spread(history(*(outcomes(n, 6) for n in successes)), total, success_threshold=0.5, least=least)
    rates = [(n + 1) / 8 for n in successes]
    sigmas = [(rate * (1 - rate)) ** 0.5 for rate in rates]
    ideal = [total * sigma / sum(sigmas) for sigma in sigmas]
    assert sum(counts) == total
    if min(ideal) >= least:
        distance = min(
            sum((n - x) ** 2 for n, x in zip(shares, ideal, strict=True))
            for shares in every_share(total, len(successes), least - 1)
        )
        assert sum((n - x) ** 2 for n, x in zip(counts, ideal, strict=True)) == pytest.approx(distance, abs=1e-9)


def test_failed_samples_prompts_without_a_signal_until_the_total_is_spent() -> None:
    three = history([0.0, 0.0], [1.0, 0.0], [1.0, 1.0])
    assert failed(three, 99, success_threshold=0.5) == [8, 0, 0]
    assert failed(three, 99, success_threshold=0.5, samples=3, until="variance") == [3, 0, 3]
    assert failed(three, 5, success_threshold=0.5, samples=3, until="variance") == [3, 0, 0]
    assert failed(history(None), 9, success_threshold=0.5) == [8]


def test_too_few_samples_for_all_prompts_are_refused() -> None:
    for budget in (knapsack, spread):
        with pytest.raises(UsageError, match="3 samples are fewer than 2 for each of 2 prompts"):
            budget(history(None, None), 3, success_threshold=0.5)
    with pytest.raises(UsageError, match="most=1 is less than least=2"):
        knapsack(history(None), 3, success_threshold=0.5, most=1)


@pytest.mark.slow
def test_the_chosen_prompts_share_the_samples_and_generate_draws_them(tmp_path: Path, model: Path) -> None:
    """a succeeds half the time, b nearly never, c always; d is not seen."""
    earlier = write_history(tmp_path / "r0", {"a": outcomes(5, 10), "b": outcomes(1, 10), "c": outcomes(9, 9)})
    prompts = prompts_table(tmp_path, "abcd")
    options = ["--history", *earlier, "--retire-above", 2, "--uniform-mix", 1, "--budget", "knapsack", "--samples", 4]
    summary = tiny.grao_json("curriculum", prompts, tmp_path / "out", *options)
    rows = open_table(str(tmp_path / "out"), "prompts").arrow().to_pylist()
    counts = {row["messages"][0]["content"]: row["samples"] for row in rows}
    # Of 16, c gets 2 and d the mean, 4; a and b share 10: the knapsack of p = ½ and 0.1.
    assert (counts["c"], counts["d"]) == (2, 4)
    shares = every_share(10, 2, 2)
    best = max(shares, key=lambda pair: value(0.5, pair[0]) + value(0.1, pair[1]))
    assert (counts["a"], counts["b"]) == best
    assert (summary["samples"], summary["without_samples"]) == (16, 0)
    groups = tmp_path / "groups"
    command = ["--model", model, "--engine", "transformers", "--max-new-tokens", 2]
    tiny.grao_json("generate", tmp_path / "out", groups, *command)
    sampled = open_table(str(groups), "groups").arrow().to_pylist()
    assert {row["messages"][0]["content"]: len(row["completions"]) for row in sampled} == counts


def test_a_prompt_that_gets_no_sample_is_left_out_and_counted(tmp_path: Path) -> None:
    earlier = write_history(tmp_path / "r0", {"a": [0.0, 0.0], "b": [1.0, 0.0]})
    options = ["--history", *earlier, "--uniform-mix", 1, "--budget", "failed", "--samples", 8]
    summary = tiny.grao_json("curriculum", prompts_table(tmp_path, "ab"), tmp_path / "out", *options)
    assert (summary["chosen"], summary["without_samples"], summary["samples"]) == (1, 1, 8)
    refused = tiny.grao("curriculum", prompts_table(tmp_path / "b", "b"), tmp_path / "none", *options)
    assert "the budget 'failed' gives no prompt a sample" in refused.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "knapsack"], "--samples: this option is required with --budget."),
        (["--samples", 4], "--samples and --budget-arg have no effect without --budget"),
        (["--budget", "knapsac", "--samples", 4], "unknown budget 'knapsac'. Did you mean knapsack?"),
        (["--budget", "spread", "--samples", 4, "--budget-arg", "lest=3"], "budget 'spread' has no argument 'lest'"),
        (["--budget", "spread", "--samples", 1], "are fewer than 2 for each of"),
        (["--priority", "cures"], "priority 'cures' needs tau=…"),
    ],
)
def test_a_budget_that_cannot_work_is_refused(tmp_path: Path, options: list[Any], message: str) -> None:
    earlier = write_history(tmp_path / "r0", {"a": [0.0, 1.0]})
    result = tiny.grao("curriculum", prompts_table(tmp_path, "ab"), tmp_path / "out", "--history", *earlier, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def greedy(history: pl.DataFrame, total: int, *, success_threshold: float, extra: int = 0) -> list[int]:
    """A budget of the user's, which may give too much."""
    return [total + extra] + [0] * (history.height - 1)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_budget_of_the_users_is_held_to_its_total(extra: int) -> None:
    name = "tests.prompts.test_budgets:greedy"
    budget = load_budget(CurriculumOptions(budget=name, budget_arg=[f"extra={extra}"], samples=1))
    assert budget is not None
    if extra == 0:
        assert budget.counts(history(None, None), 5) == [5, 0]
        return
    with pytest.raises(StageFailure, match="gave other values than one whole number of samples per prompt, at most 5"):
        budget.counts(history(None, None), 5)
