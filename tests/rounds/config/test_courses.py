"""Numbers that change over the rounds: weights, arguments, what follows a measurement; and what cannot change."""

from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.rounds.config.run_plan import MODEL
from grao_pipeline.rounds.config.schedules import Towards
from tests.rounds.config.test_config import BASE, error, load, options

FIVE = BASE.replace("rounds: 3", "rounds: 5")
TOWARDS = "{schedule: towards, metric: entropy, target: 1, gain: 0.5, from: 0.5, low: 0.05, high: 0.95}"


def test_the_weight_of_a_reward_has_a_schedule(tmp_path: Path) -> None:
    """(1 + cos πt) / 2 at t = 0, ¼, ½, ¾, 1."""
    text = FIVE.replace("weight: 0.5", "weight: {schedule: cosine, from: 1, to: 0}")
    rounds = load(tmp_path, text).variants[0].rounds
    weights = [one.stages["score"][1].weight for one in rounds]
    assert weights == pytest.approx([1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)
    listed = load(tmp_path, FIVE.replace("weight: 0.5", "weight: [1, 2, 3, 4, 5]")).variants[0].rounds
    assert [one.stages["score"][1].weight for one in listed] == [1, 2, 3, 4, 5]


def test_arguments_are_a_mapping_whose_numbers_have_schedules(tmp_path: Path) -> None:
    text = BASE.replace(
        "beta: 0.5", "objective: grpo\n  objective_arg: {kl: {schedule: linear, from: 0.5, to: 0}, clip_low: 0.25}"
    ).replace("reward_arg: [target=9]", "reward_arg: {target: {schedule: linear, from: 8, to: 16}, unit: characters}")
    variant = load(tmp_path, text).variants[0]
    assert [options(variant, "train", number).objective_arg for number in range(3)] == [
        ["kl=0.5", "clip_low=0.25"],
        ["kl=0.25", "clip_low=0.25"],
        ["kl=0.0", "clip_low=0.25"],
    ]
    assert [one.stages["score"][1].options.given()["reward_arg"] for one in variant.rounds] == [
        [f"target={target}", "unit=characters"] for target in (8.0, 12.0, 16.0)
    ]


def test_lists_among_arguments_are_values_not_rounds(tmp_path: Path) -> None:
    text = BASE.replace("beta: 0.5", "objective: trpa\n  objective_arg: {levels: [1, 0.5]}")
    assert options(load(tmp_path, text).variants[0], "train", 1).objective_arg == ["levels=[1, 0.5]"]


def test_the_dip_is_that_of_its_paper(tmp_path: Path) -> None:
    """GRPO-D (arXiv 2503.16081): (0.04, 0.1) begins at 0.07, is 0.04 at t = 0.3, and ends at 0.1; 0.07 at t = 0.65."""
    text = BASE.replace("rounds: 3", "rounds: 21").replace("beta: 0.5", "beta: {schedule: dip, from: 0.04, to: 0.1}")
    variant = load(tmp_path, text).variants[0]
    betas = [options(variant, "train", number).beta for number in (0, 3, 6, 13, 20)]
    assert betas == pytest.approx([0.07, 0.055, 0.04, 0.07, 0.1])


def test_what_follows_a_measurement_moves_by_its_gain_within_its_bounds() -> None:
    """½ + ½ (1 − 0.8) = 0.6; then 0.6 + ½ (1 − 3) is below 0.05; then 0.05 + ½ (1 − (−3)) is above 0.95."""
    course = Towards.model_validate(
        {"metric": "entropy", "target": 1, "gain": 0.5, "from": 0.5, "low": 0.05, "high": 0.95}
    )
    assert course.value([]) == 0.5
    assert course.value([0.8]) == pytest.approx(0.6)
    assert course.value([0.8, 3.0]) == 0.05
    assert course.value([0.8, 3.0, -3.0]) == 0.95


def test_a_plan_has_the_value_that_a_measured_number_begins_with(tmp_path: Path) -> None:
    whole = "{schedule: towards, metric: entropy, target: 1, gain: 0.5, from: 2, low: 1, high: 4}"
    text = BASE.replace("beta: 0.5", f"beta: {TOWARDS}\n  epochs: {whole}")
    settings = load(tmp_path, text).variants[0].rounds[2].only("train")
    assert settings is not None
    given: dict[str, Any] = settings.options.given()
    assert (given["beta"], given["epochs"]) == (0.5, 2)
    assert [(one.option, one.is_whole) for one in settings.measured] == [("beta", False), ("epochs", True)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "weight: 0.5",
            "weight: {schedule: linear, from: 1}",
            "yaml:10: score.weight: expected {schedule: linear",
        ),
        ("weight: 0.5", "weight: [1, 2]", "rounds.yaml:10: score.weight: a list has one value per round; found 2"),
        ("beta: 0.5", f"beta: {TOWARDS.replace('gain', 'gian')}", "rounds.yaml:13: train.beta.gian: there is no such"),
        ("beta: 0.5", f"beta: {TOWARDS.replace('target: 1, ', '')}", "train.beta.target: this option is required"),
        (
            "beta: 0.5",
            f"beta: {TOWARDS.replace('0.05', '-1')}",
            "train.beta: input should be greater than",
        ),
        (
            "beta: 0.5",
            "objective: grpo\n  objective_arg: {kl: {schedule: lin, from: 1, to: 0}}",
            "rounds.yaml:14: train.objective_arg: kl: expected {schedule: linear",
        ),
        (
            "beta: 0.5",
            "beta: 0.5\nminibatch: {prompts_per_round: {schedule: linear, from: 1, to: 3}}",
            "rounds.yaml:14: minibatch.prompts_per_round: it has no schedule: its value is the same in every round.",
        ),
        (
            "beta: 0.5",
            "beta: 0.5\nevaluate: {generate: {temperature: {schedule: linear, from: 1, to: 0}}}",
            "rounds.yaml:14: evaluate.generate.temperature: it has no schedule",
        ),
        (
            "rounds: 3",
            "rounds: 3\nreuse_rounds: {schedule: linear, from: 1, to: 2}",
            "rounds.yaml:4: reuse_rounds: it has no schedule",
        ),
        ("engine: transformers", "engine: ${policy}", "rounds.yaml:6: ${policy} is known only in score, logprobs."),
        ("train:\n", "logprobs: [{name: 'a/b', model: m}]\ntrain:\n", "'a/b' cannot name a directory"),
        ("train:\n", "logprobs: [{model: m}]\ntrain:\n", "rounds.yaml:11: logprobs.name: '' cannot name a directory"),
        ("train:\n", "logprobs: [{name: behavior, model: m}]\ntrain:\n", "'behavior' is the name of the policy"),
        ("beta: 0.5", "logprobs: [ref=x]", "rounds.yaml:13: train.logprobs is decided by the loop"),
        (
            "beta: 0.5",
            "beta: 0.5\nresample: {until: luck}",
            "yaml:14: resample.until: input should be",
        ),
        ("beta: 0.5", "beta: 0.5\nresample: {attempt: 1}", "resample.attempt is decided by the loop"),
        (
            "beta: 0.5",
            "beta: 0.5\ncurriculum: {priority: cures}",
            "curriculum.priority_arg: priority 'cures' needs tau",
        ),
    ],
)
def test_what_has_no_such_course_is_refused_by_name(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in error(tmp_path, BASE.replace(old, new, 1))


def test_the_policy_stands_in_rewards_and_logprobs(tmp_path: Path, model: Path) -> None:
    text = (
        BASE.replace("models/base", str(model))
        .replace("{reward: gsm8k}", "{reward: judge-rubric, reward_arg: {model: '${policy}', criterion: helpful}}")
        .replace("train:\n", "logprobs: [{name: own, model: '${policy}'}, {name: ref, model: base}]\ntrain:\n")
    )
    plan = load(tmp_path, text).variants[0].rounds[1].stages
    assert plan["score"][0].options.given()["reward_arg"] == [f"model={MODEL}", "criterion=helpful"]
    assert [(one.label, one.options.given()["model"]) for one in plan["logprobs"]] == [("own", MODEL), ("ref", "base")]
