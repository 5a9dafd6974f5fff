"""The rounds' YAML: errors name the line, variables and schedules mean what docs/rounds.md says."""

import math
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import GraoError, UsageError
from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.rounds.config.run_plan import RunPlan, VariantPlan
from grao_pipeline.rounds.config.schedules import value_at

BASE = """\
output: runs/x
model: models/base
rounds: 3
prompts: {train: data/train}
generate:
  engine: transformers
  samples: 4
score:
  - {reward: gsm8k}
  - {reward: length, weight: 0.5, reward_arg: [target=9]}
train:
  learning_rate: 1e-5
  beta: 0.5
"""


def load(directory: Path, text: str) -> RunPlan:
    path = directory / "rounds.yaml"
    path.write_text(text)
    return load_plan(str(path))


def options(variant: VariantPlan, stage: str, number: int) -> Any:
    """The options of a stage in a round."""
    settings = variant.rounds[number].only(stage)
    assert settings is not None
    return settings.options


def weights(variant: VariantPlan) -> list[float]:
    """Of the rewards."""
    return [settings.weight for settings in variant.rounds[0].stages["score"]]


def error(directory: Path, text: str) -> str:
    """The error's text, the directory left out."""
    with pytest.raises(GraoError) as raised:
        load(directory, text)
    return str(raised.value).replace(f"{directory}/", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "learning_rate:",
            "learning_rat:",
            "rounds.yaml:12: train.learning_rat: there is no such option of this stage. Did you mean learning_rate?",
        ),
        ("beta: 0.5", "beta: -1", "rounds.yaml:13: train.beta: input should be greater than or equal to 0, found -1."),
        ("samples: 4", "samples: many", "rounds.yaml:7: generate.samples: input should be a valid integer"),
        ("beta: 0.5", "beta: 0.5\n  beta: 0.6", "rounds.yaml:14: beta is given a second time; the first is at"),
        (
            "rounds: 3",
            "rounds: 3\nround: 3",
            "rounds.yaml:4: round: there is no such key of a rounds file. Did you mean rounds?",
        ),
        (
            "{reward: gsm8k}",
            "{reward: gsm9k}",
            "rounds.yaml:9: score.reward: unknown reward 'gsm9k'",
        ),
        (
            "{train: data/train}",
            "{source: a.jsonl, format: alpacca}",
            "rounds.yaml:4: prompts.format: unknown format 'alpacca'. Did you mean alpaca?",
        ),
        ("[target=9]", "[target=9, limit]", "rounds.yaml:10: score.reward_arg: 'limit': expected key=value"),
        ("weight: 0.5", "when: task = 3", "rounds.yaml:10: score.when: column 6: '=' has no meaning here"),
        ("weight: 0.5", "missing: skip", "rounds.yaml:10: score.missing: 'skip' has no effect: reward 'length'"),
        (
            "weight: 0.5",
            "wight: 0.5",
            "rounds.yaml:10: score.wight: there is no such option of this stage. Did you mean weight?",
        ),
        (
            "{train: data/train}",
            "{trian: data/train}",
            "rounds.yaml:4: prompts.trian: there is no such option of this stage. Did you mean train?",
        ),
        (
            "beta: 0.5",
            "lambda_: 0.5",
            "rounds.yaml:13: train.lambda_: there is no such option of this stage. Did you mean lambda?",
        ),
        ("rounds: 3", "rounds: yes", "rounds.yaml:3: rounds: expected a number, found True."),
        ("beta: 0.5", "beta: on", "rounds.yaml:13: train.beta: expected a number, found True."),
        ("weight: 0.5", "weight: x", "rounds.yaml:10: score.weight: expected a number, found 'x'"),
        ("{reward: length,", "{reward: length, name: gsm8k,", "yaml:10: score: two entries are named 'gsm8k'"),
        ("samples: 4", "round: 4", "rounds.yaml:7: generate.round is decided by the loop"),
        (
            "engine: transformers",
            "engine: vlm",
            "rounds.yaml:6: generate.engine: unknown engine 'vlm'. Did you mean vllm? Built in: ",
        ),
        (
            "beta: 0.5",
            "beta: 0.5\nevaluate:\n  generate:\n    engine: vlm",
            "rounds.yaml:16: evaluate.generate.engine: unknown engine 'vlm'. Did you mean vllm?",
        ),
        ("beta: 0.5", "ratio_cap: 2", "rounds.yaml:13: train.ratio_cap: 2 applies only to correction truncated-is or"),
        ("beta: 0.5", "correction: mask-band", "rounds.yaml:13: train.correction: mask-band needs ratio_low."),
        ("beta: 0.5", "objective: grap", "rounds.yaml:13: train.objective: unknown objective 'grap'"),
        (
            "train:\n",
            "advantages: {estimator: x}\ntrain:\n",
            "yaml:11: advantages.estimator: unknown estimator 'x'",
        ),
        ("train:\n", "advantages: {combine: uncertainty}\ntrain:\n", "rounds.yaml:11: advantages"),
        ("  samples: 4", "  [1]: 4", "rounds.yaml:7: expected a name as key"),
        ("beta: 0.5", "beta: [0.5", "rounds.yaml:14: the file is not YAML: "),
        ("beta: 0.5", "beta: 0.5\nreuse_rounds: 0", "rounds.yaml:14: reuse_rounds: input should be"),
        (
            "beta: 0.5",
            "beta: 0.5\nexecutor: ray\nresources:\n  train: {gpus: 1}",
            "yaml:16: resources.train.gpus: there is no such option",
        ),
        ("beta: 0.5", "beta: 0.5\npool: true", "rounds.yaml:14: pool: there are no groups to pool"),
        (
            "beta: 0.5",
            "beta: 0.5\ncurriculum: {fractoin: 0.5}",
            "curriculum.fractoin: there is no such option of this",
        ),
        (
            "beta: 0.5",
            "beta: 0.5\nevaluate:\n  generate:\n    samples: 0",
            "rounds.yaml:16: evaluate.generate.samples",
        ),
        (
            "beta: 0.5",
            "beta: 0.5\noverrides: {3: {}}",
            "yaml:14: overrides: there is no round 3; the rounds are 0 to 2",
        ),
        (
            "beta: 0.5",
            "beta: 0.5\noverrides:\n  2:\n    train:\n      epochs: 0",
            "rounds.yaml:17: train.epochs: input should be",
        ),
        ("beta: 0.5", "beta: 0.5\noverrides: {1: {score: {}}}", "rounds.yaml:14: overrides: score cannot change"),
        (
            "beta: 0.5",
            "beta: [0.5, 0.4]",
            "rounds.yaml:13: train.beta: a list has one value per round; found 2 values for 3",
        ),
        ("beta: 0.5", "beta: [0.5, 0.4, -1]", "rounds.yaml:13: train.beta: input"),
        (
            "beta: 0.5",
            "beta: {schedule: linaer, from: 1, to: 0}",
            "rounds.yaml:13: train.beta: expected {schedule: linear, from: NUMBER",
        ),
        ("beta: 0.5", "beta: {schedule: linear, from: 1}", "rounds.yaml:13: train.beta: expected {schedule"),
        (
            "beta: 0.5",
            "objective: {schedule: linear, from: 1, to: 0}",
            "rounds.yaml:13: train.objective: only a number",
        ),
        ("beta: 0.5", "beta: ${b}", "rounds.yaml:13: unknown variable ${b}. There are: round, policy;"),
        ("beta: 0.5", "beta: ${env:GRAO_NOT_SET}", "rounds.yaml:13: the environment variable GRAO_NOT_SET is not set"),
        ("output: runs/x", "output: runs/${round}", "rounds.yaml:1: ${round} is known only in curriculum, generate,"),
        ("beta: 0.5", "beta: 0.5\nsweep: {evaluate.seed: [1]}", "rounds.yaml:14: sweep: evaluate.seed cannot be swept"),
        ("beta: 0.5", "beta: 0.5\nsweep: {train.btea: [1]}", "there is no option btea of train. Did you mean beta?"),
        ("beta: 0.5", "beta: 0.5\nsweep: {train.beta: 1}", "rounds.yaml:14: sweep: train.beta: expected a list"),
        ("beta: 0.5", "beta: 0.5\nsweep:\n  train.beta: [1,\n    -1]", "rounds.yaml:16: train.beta: input should be"),
        (
            "beta: 0.5",
            "beta: 0.5\nsweep: {score.gsm.weight: [1]}",
            "there is no reward 'gsm' in 'score'; there are: gsm8k",
        ),
        ("beta: 0.5", "beta: 0.5\nsweep: {train.beta: [1, 1]}", "two alternatives are named 'beta=1'"),
    ],
)
def test_an_error_names_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in error(tmp_path, BASE.replace(old, new, 1))


def test_every_wrong_option_of_a_section_is_named_with_its_own_line(tmp_path: Path) -> None:
    lines = error(tmp_path, BASE.replace("beta: 0.5", "beta: -1\n  epochs: 0")).splitlines()
    assert [line.split(": input")[0] for line in lines] == [
        "rounds.yaml:13: train.beta",
        "rounds.yaml:14: train.epochs",
    ]


def test_variables_have_the_type_of_their_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAO_TEST_EPOCHS", "3")
    text = BASE.replace("beta: 0.5", "beta: ${b}\n  epochs: ${env:GRAO_TEST_EPOCHS}\n  seed: ${round}")
    text = text.replace("runs/x", "${env:GRAO_NOT_SET:runs}/${name}/$${x}")
    text += "variables: {b: 0.25, name: 'b${b}'}\n"
    config = load(tmp_path, text)
    assert str(config.output) == "runs/b0.25/${x}"
    trained = options(config.variants[0], "train", 2)
    assert (trained.beta, trained.epochs, trained.seed) == (0.25, 3, 2)


# Halfway of three rounds, t = 1/2: linear (1 + 0)/2; cosine (1 − cos(π/2))/2 = 1/2 too. At t = 1/4 of five rounds
# (1 − cos(π/4))/2 = (1 − √2/2)/2.
@pytest.mark.parametrize(
    ("shape", "number", "rounds", "expected"),
    [
        ("linear", 0, 3, 1.0),
        ("linear", 1, 3, 0.5),
        ("linear", 2, 3, 0.0),
        ("linear", 0, 1, 1.0),
        ("cosine", 1, 3, 0.5),
        ("cosine", 1, 5, 1 - (1 - math.sqrt(2) / 2) / 2),
        ("cosine", 4, 5, 0.0),
        ("constant", 2, 3, 1.0),
    ],
)
def test_a_schedule_goes_from_its_first_to_its_last_value(
    shape: str, number: int, rounds: int, expected: float
) -> None:
    assert value_at(shape, 1.0, 0.0, number, rounds) == pytest.approx(expected, abs=1e-15)


def test_schedules_lists_and_overrides_change_options_from_round_to_round(tmp_path: Path) -> None:
    text = BASE.replace("beta: 0.5", "beta: {schedule: linear, from: 1, to: 0}\n  lambda: [0.1, 0.2, 0.3]\n  epochs: 2")
    text = text.replace("samples: 4", "samples: {schedule: linear, from: 4, to: 8}")
    text += "overrides:\n  1: {train: {epochs: 5, beta: 0.9}, advantages: {statistics: samples}}\n"
    variant = load(tmp_path, text).variants[0]
    trained = [options(variant, "train", number) for number in range(3)]
    assert [(o.beta, o.lambda_, o.epochs) for o in trained] == [(1.0, 0.1, 2), (0.9, 0.2, 5), (0.0, 0.3, 2)]
    assert [options(variant, "generate", number).samples for number in range(3)] == [4, 6, 8]
    assert [options(variant, "advantages", n).statistics for n in (0, 1)] == ["samples_and_reference", "samples"]
    assert variant.sampling.options.resolved()["samples"] == 4  # as in round 0, for every model


def test_a_constant_is_the_work_that_a_plain_value_is(tmp_path: Path) -> None:
    plain = load(tmp_path, BASE).variants[0]
    for same in ("{schedule: constant, from: 0.5}", "[0.5, 0.5, 0.5]", "{schedule: cosine, from: 0.5, to: 0.5}"):
        other = load(tmp_path, BASE.replace("beta: 0.5", f"beta: {same}")).variants[0]
        for number in range(3):
            assert options(other, "train", number).content() == options(plain, "train", number).content()


def test_a_sweep_is_the_product_of_its_alternatives(tmp_path: Path) -> None:
    text = BASE + "sweep:\n  train.beta: [0.25, 0.5]\n  train.lambda: [0.3, 0.6]\n  score.length.weight: [0, 1]\n"
    variants = load(tmp_path, text).variants
    assert [variant.name for variant in variants[:3]] == [
        "beta=0.25,lambda=0.3,score.length.weight=0",
        "beta=0.25,lambda=0.3,score.length.weight=1",
        "beta=0.25,lambda=0.6,score.length.weight=0",
    ]
    assert len(variants) == 8
    trained = options(variants[5], "train", 0)
    assert (trained.beta, trained.lambda_, weights(variants[5])) == (0.5, 0.3, [1.0, 1.0])


def test_whole_lists_of_rewards_can_be_swept(tmp_path: Path) -> None:
    alternatives = (
        "[{reward: gsm8k}], [{reward: gsm8k}, {reward: length, name: short, weight: 0.2, reward_arg: [target=9]}]"
    )
    variants = load(tmp_path, BASE + f"sweep: {{score: [{alternatives}]}}\n").variants
    assert [variant.name for variant in variants] == ["score=gsm8k", "score=gsm8k+short-0.2"]
    assert [weights(variant) for variant in variants] == [[1.0], [1.0, 0.2]]


def test_anchors_and_merges_are_yaml_as_ever(tmp_path: Path) -> None:
    text = BASE.replace("generate:\n", "generate: &g\n").replace(
        "beta: 0.5", "beta: 0.5\nevaluate: {generate: {<<: *g}}"
    )
    assert load(tmp_path, text).variants[0].sampling.options.resolved()["samples"] == 4
    with pytest.raises(UsageError, match="recursive alias"):
        load(tmp_path, BASE.replace("train:\n", "train: &t\n").replace("beta: 0.5", "beta: *t"))


def test_the_configuration_in_the_docs_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "rounds.md").read_text()
    config = load(tmp_path, text.split("```yaml\n")[1].split("```")[0])
    assert len(config.variants) == 9
    trained = [options(config.variants[8], "train", number) for number in range(4)]
    assert [one.epochs for one in trained] == [1, 1, 1, 2]
    assert {(one.beta, one.lambda_) for one in trained} == {(1.0, 0.9)}  # the sweep's, not the section's


def test_arguments_of_the_chat_template_are_a_mapping(tmp_path: Path) -> None:
    mapping = "samples: 4\n  template_arg: {enable_thinking: false, effort: low}\n  template_date: 2026-07-31"
    plan = load(tmp_path, BASE.replace("samples: 4", mapping))
    generate = options(plan.variants[0], "generate", 2)
    assert generate.template_arg == ["enable_thinking=false", "effort=low"]
    assert generate.template_date == "2026-07-31"
