"""The arithmetic of `benchmarks.methods`: intervals over seeds, the step of a target, DPO's pairs."""

import math
import random
from pathlib import Path

import polars as pl
import pytest
from click import ClickException

from benchmarks.methods.results import Result, Results, choose_rate, grid_runs
from benchmarks.methods.sampling import Scored
from benchmarks.methods.settings import FIRST_SEED, TUNING_SEEDS, Run
from benchmarks.methods.statistics import first_step, t_interval
from benchmarks.methods.tasks import NEVER_SAID, TASKS, draw_rows
from benchmarks.methods.trl_dpo import make_pairs
from examples.demo.task import SPANISH, reward


def test_an_interval_is_that_of_students_t() -> None:
    """1, 2, 3: mean 2, s = 1, two degrees of freedom: 4.303 · 1 / √3 = 2.484."""
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(4.303 / math.sqrt(3))


def test_a_target_is_reached_at_the_first_step_that_is_not_below_it() -> None:
    steps = [0, 5, 10, 15]
    assert first_step(steps, [0.1, 0.4, 0.6, 0.4], 0.4) == 5
    assert first_step(steps, [0.1, 0.4, 0.6, 0.4], 0.61) is None


def test_a_pair_is_the_best_of_the_group_against_its_worst_sample(tmp_path: Path) -> None:
    """Rows: the reference is best; a sample is; a sample as good as the reference goes first; all alike: no pair."""
    rewards, references = [[0.0, 0.5], [0.2, 0.9], [1.0, 0.0], [1.0, 1.0]], [1.0, 0.5, 1.0, 0.0]
    rows = range(len(rewards))
    groups = pl.DataFrame(
        {
            "messages": [[{"role": "user", "content": f"prompt {row}"}] for row in rows],
            "completions": [["first", "second"] for _ in rows],
            "reference": ["reference" for _ in rows],
        }
    )
    scores = pl.DataFrame({"rewards": rewards, "reference_reward": references})
    for name, table in {"groups": groups, "scores": scores}.items():
        (tmp_path / name).mkdir()
        table.write_parquet(tmp_path / name / "part-000000.parquet")
    pairs = make_pairs(Scored(str(tmp_path / "groups"), str(tmp_path / "scores")))
    assert pairs == [
        {"prompt": "prompt 0", "chosen": "reference", "rejected": "first"},
        {"prompt": "prompt 1", "chosen": "second", "rejected": "first"},
        {"prompt": "prompt 2", "chosen": "first", "rejected": "second"},
    ]


@pytest.mark.parametrize(("name", "right_share"), [("imperfect", 0.0), ("weak", 1.0), ("mixed", 0.035)])
def test_references_are_as_the_task_says(name: str, right_share: float) -> None:
    """In the mixed task a reference is right where all its words are such that the base never says them: a few."""
    rows = draw_rows(TASKS[name], 200, seed=5)
    rewards = reward([row["completion"] for row in rows], rows)
    assert sum(value == 1.0 for value in rewards) / len(rewards) == right_share
    others = draw_rows(TASKS[name], 50, seed=5, excluded={row["prompt"] for row in rows})
    assert not {row["prompt"] for row in rows} & {row["prompt"] for row in others}


def test_in_the_mixed_task_each_side_knows_what_the_other_does_not() -> None:
    """References get right what the base never says, and leave in English what only samples can get right."""
    rows = draw_rows(TASKS["mixed"], 200, seed=5)
    left = [
        word for row in rows for word, said in zip(row["words"], row["completion"].split(), strict=True) if word == said
    ]
    assert left
    assert not NEVER_SAID & set(left)
    rng = random.Random(0)
    for _ in range(200):
        prompt, answer = TASKS["mixed"].demonstrate(rng)
        words = prompt.partition(": ")[2].split()
        said = dict(zip(words, answer.split(), strict=True))
        assert all(said[word] == word for word in words if word in NEVER_SAID)
    assert len(NEVER_SAID) == len(SPANISH) // 2


def test_the_rate_is_chosen_by_the_mean_over_the_tuning_seeds(tmp_path: Path) -> None:
    """1e-3 has the best single run, 3e-4 the best mean. The file gives back what was added."""
    ends = {1e-4: (0.1, 0.1, 0.1), 3e-4: (0.6, 0.6, 0.6), 1e-3: (0.9, 0.3, 0.3), 3e-3: (0.0, 0.0, 0.0)}
    results = Results(tmp_path / "results.jsonl")
    for rate, rewards in ends.items():
        for seed, reward_at_end in zip(TUNING_SEEDS, rewards, strict=True):
            run = Run("mixed", "grao", rate, seed)
            results.add(Result(run, 1.0, [{"step": 80.0, "mean_reward": reward_at_end}], []))
    assert choose_rate(Results(tmp_path / "results.jsonl"), "mixed", "grao") == 3e-4
    assert all(run.is_tuning and run in results for run in grid_runs("mixed", "grao"))
    assert not Run("mixed", "grao", 1e-3, FIRST_SEED).is_tuning


def test_runs_of_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"GROUPS_PER_STEP": "3"}\n')
    with pytest.raises(ClickException, match="other settings"):
        Results(path)
