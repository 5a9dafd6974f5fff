"""`until`: when the rounds stop before the last one, and that every run decides the same."""

from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.rounds.config.until import Until, reason_to_stop
from tests import tiny
from tests.rounds.running import run
from tests.rounds.test_plan import plan, write_config


@pytest.mark.parametrize(
    ("values", "at_least", "patience", "stops"),
    [
        ([0.4, 0.5], 0.5, None, True),
        ([0.4, 0.49], 0.5, None, False),
        ([None], -1.0, None, False),
        ([0.3, 0.2, 0.3], None, 2, True),  # an equal value is no better one
        ([0.3, 0.2, 0.31], None, 2, False),
        ([0.3, None], None, 1, True),
        ([None, None, None], None, 2, True),
        ([0.1, 0.2, 0.3], None, 1, False),
        ([0.1, 0.0], 0.5, 2, False),
    ],
)
def test_the_rounds_stop_at_a_value_or_where_it_rises_no_more(
    values: list[float | None], at_least: float | None, patience: int | None, stops: bool
) -> None:
    until = Until(metric="ras", at_least=at_least, patience=patience)
    assert (reason_to_stop(values, until) is not None) == stops


def config_of(directory: Path, model: Path, prompts: str, until: dict[str, Any], rounds: int = 5) -> Path:
    return write_config(
        directory,
        model,
        prompts,
        rounds=rounds,
        prompts={"train": prompts, "eval": prompts},
        evaluate={"generate": {"samples": 1, "max_new_tokens": 2}, "bootstrap_samples": 100},
        train={"learning_rate": 1e-3, "groups_per_step": 10},
        until=until,
    )


@pytest.mark.slow
def test_rounds_stop_early_and_plan_status_and_another_run_say_the_same(
    tmp_path: Path, model: Path, prompts: str
) -> None:
    """The first round's model reaches a reward of 0. Without that, the rounds go on while the reward rises."""
    config = config_of(tmp_path, model, prompts, {"metric": "mean_reward", "at_least": 0.0})
    assert len(plan(config)) == 3 + 5 * 7
    assert "Fewer rounds are run where mean_reward is at least 0." in tiny.grao("rounds", "plan", config).stdout
    summary = run(config)
    assert {name.partition("/")[0] for name in summary["made"]} == {"base", "round-0"}
    assert summary["stops"][""].startswith("stopped after round 0: mean_reward is 0.")
    assert tiny.grao_json("rounds", "status", config)["stops"] == summary["stops"]
    planned = tiny.grao_json("rounds", "plan", config)
    assert planned["stops"] == summary["stops"]
    assert [task["state"] for task in planned["tasks"]] == ["done"] * 10
    assert "Stopped after round 0" in tiny.grao("rounds", "status", config).stdout
    assert run(config)["made"] == []

    still = config_of(tmp_path, model, prompts, {"metric": "mean_reward", "patience": 1})
    longer = run(still)
    values = {row["name"]: row["metrics"]["mean_reward"]["value"] for row in longer["rows"]}
    of_rounds = [values[f"round-{number}"] for number in range(len(values) - 1)]
    assert len(of_rounds) == 5 or of_rounds[-1] <= of_rounds[-2]  # the first value that is no better is the last
    assert sorted(set(of_rounds[:-1])) == of_rounds[:-1]
    assert ("" in longer["stops"]) == (of_rounds[-1] <= of_rounds[-2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until": {"metric": "nag_net"}}, "give at_least, patience or both"),
        ({"until": {"metric": "loss", "at_least": 1}}, "until.metric: input should be 'mean_reward', 'ras'"),
        ({"until": {"at_leats": 1}}, "until.at_leats: there is no such option of this stage. Did you mean at_least?"),
        ({"until": {"patience": 0}}, "until.patience: input should be greater than or equal to 1"),
        ({"until": {"at_least": 0.5}, "prompts": {"train": "p"}}, "no model is evaluated without held-out prompts"),
        ({"until": 3}, "until: input should be a valid dictionary"),
        ({"minibatch": {"prompts_per_round": 2}, "curriculum": {}}, "give one of them"),
        ({"minibatch": {"prompts_per_round": 2, "round": 1}}, "minibatch.round is decided by the loop"),
    ],
)
def test_a_wrong_way_to_stop_or_to_walk_is_refused(
    tmp_path: Path, model: Path, prompts: str, changes: dict[str, Any], message: str
) -> None:
    places = {"prompts": {"train": prompts, "eval": prompts}}
    result = tiny.grao("rounds", "plan", write_config(tmp_path, model, prompts, **{**places, **changes}))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "rounds.yaml:" in result.stderr
