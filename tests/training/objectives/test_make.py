"""Objectives and corrections from the command line to a trained model, and what is refused before one is loaded."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.models.source import locate_model
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import TableWriter
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.objectives.base import FakeObjective, ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.objectives.make import make_objective
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.provenance import train_provenance
from grao_pipeline.training.train import train_model
from tests import tiny
from tests.training import oracle
from tests.training.ranks import metrics
from tests.training.steps import scored_group

OWN = "tests.training.objectives.test_make:Scaled"
EVERY = {
    "grao": [],
    "sft": [],
    "grpo": ["clip_high=0.3", "kl=0.01"],
    "dr-grpo": ["max_completion_length=8"],
    "chord": ["mu=0.2"],
    "dpo": ["dpo_beta=0.2"],
    "asymre": ["delta_v=-0.2"],
    "opmd": ["tau=0.5"],
    OWN: ["scale=2"],
}


class Scaled(FakeObjective):
    """A user's objective: plain likelihood, with an argument."""

    class Arguments(PluginArguments):
        scale: float = argument(..., "Factor of the loss.")

    arguments: Arguments

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        outputs = super().__call__(inputs)
        return ObjectiveOutputs(outputs.loss * self.arguments.scale, outputs.sums)


class WithoutArguments(FakeObjective):
    """A user's objective without arguments."""


class WantsATemperature(FakeObjective):
    def __init__(self, temperature: float) -> None:
        raise AssertionError("never called")


class NotAnObjective:
    """A user's class that only looks like one."""

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        return FakeObjective()(inputs)


def data_of(root: Path, *rows: tuple[oracle.Row, oracle.Row], **options: Any) -> TrainingSet:
    """A training set of these groups with their advantages."""
    groups = tiny.write_table(root / "groups", "groups", [dict(group) for group, _ in rows], rows_per_part=2)
    advantages = tiny.write_table(
        root / "advantages", "advantages", [dict(advantage) for _, advantage in rows], rows_per_part=2
    )
    return TrainingSet(open_table(groups), open_table(advantages), **options)


def group(name: str, rewards: list[float], **changes: Any) -> tuple[oracle.Row, oracle.Row]:
    made, advantages = scored_group(name, [1, 7], [[5, 6], [7, 8, 9]], [9, 2], rewards, 0.5)
    return {**made, **changes}, advantages


@pytest.fixture
def data(tmp_path: Path) -> TrainingSet:
    return data_of(tmp_path, group("one", [0.0, 1.0]), group("two", [1.0, 2.0]))


@pytest.mark.slow
@pytest.mark.parametrize("objective", EVERY)
def test_every_objective_trains_from_the_command_line(
    tmp_path: Path, groups: str, advantages: str, model: Path, objective: str
) -> None:
    arguments = [part for pair in EVERY[objective] for part in ("--objective-arg", pair)]
    options = ["--model", model, "--device", "cpu", "--groups-per-step", "5", "--learning-rate", "1e-4"]
    out = tmp_path / "out"
    summary = tiny.grao_json("train", groups, advantages, out, *options, "--objective", objective, *arguments)
    assert summary["steps"] == 2
    assert all(record["grad_norm"] > 0 for record in metrics(out))
    before, after = oracle.load_model(model), oracle.load_model(out)
    moved = [
        not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True) if a.requires_grad
    ]
    assert any(moved)


@pytest.mark.slow
@pytest.mark.parametrize(
    "correction",
    [
        ["--correction", "truncated-is", "--ratio-cap", "1.0"],
        ["--correction", "sequence-is", "--ratio-cap", "1.0"],
        ["--correction", "mask-band", "--ratio-low", "0.999", "--ratio-high", "1.001"],
        ["--negative-floor", "-1e-3"],
    ],
)
def test_a_correction_changes_the_training_from_the_command_line(
    tmp_path: Path, groups: str, advantages: str, model: Path, correction: list[str]
) -> None:
    options = ["--model", model, "--device", "cpu", "--groups-per-step", "5", "--learning-rate", "1e-3"]
    norms = []
    for name, extra in (("plain", []), ("corrected", correction)):
        tiny.grao_json("train", groups, advantages, tmp_path / name, *options, *extra)
        norms.append([record["grad_norm"] for record in metrics(tmp_path / name)])
    assert norms[0][1] != pytest.approx(norms[1][1], rel=1e-3)  # by then the policy has moved


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"objective": "grpo", "correction": "truncated-is", "ratio_cap": 2.0},
            "correction: truncated-is does not apply to objective 'grpo', which has an importance ratio itself",
        ),
        ({"objective": "dpo", "negative_floor": -9.0}, "negative_floor: -9.0 does not apply to objective 'dpo', which"),
        ({"objective": "sft", "negative_floor": -9.0}, "negative_floor: -9.0 does not apply to objective 'sft', which"),
        ({"objective": "dpo", "beta": 0.1}, "beta: 0.1 has no effect on objective 'dpo'."),
        (
            {"objective": "grpo", "beta": 0.1},
            "beta: 0.1 has no effect on objective 'grpo'. Its arguments are given with --objective-arg: "
            "ratio, clip_low, clip_high, kl, kl_against, unbiased_kl.",
        ),
        (
            {"objective": "sft", "beta": 0.1},
            "beta: 0.1 has no effect on objective 'sft'. Its arguments are given with --objective-arg: none.",
        ),
        ({"objective": "opmd", "lambda_": 0.1}, "lambda_: 0.1 has no effect on objective 'opmd'."),
        ({"objective": "grao", "objective_arg": ["beta=1"]}, "objective_arg: objective 'grao' has no argument 'beta'."),
        ({"objective": "grao", "objective_arg": ["beta"]}, "objective_arg: 'beta': expected key=value."),
        ({"correction": "mask-band"}, "correction: mask-band needs --ratio-low."),
        (
            {"objective": OWN.replace("Scaled", "NotAnObjective")},
            f"objective: '{OWN.replace('Scaled', 'NotAnObjective')}' is not a subclass of Objective",
        ),
        (
            {"objective": OWN.replace("Scaled", "WantsATemperature")},
            f"objective: '{OWN.replace('Scaled', 'WantsATemperature')}' cannot be called with arguments",
        ),
    ],
)
def test_an_option_without_effect_on_the_objective_is_refused(
    data: TrainingSet, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make_objective(TrainOptions.model_validate({"model": "m", **values}), data)
    assert str(caught.value).startswith(message)


def test_a_users_objective_without_arguments_refuses_them(data: TrainingSet) -> None:
    name = OWN.replace("Scaled", "WithoutArguments")
    make_objective(TrainOptions(model="m", objective=name), data)
    with pytest.raises(UsageError, match=f"objective '{name}' has no argument 'x'. It has: none"):
        make_objective(TrainOptions(model="m", objective=name, objective_arg=["x=1"]), data)


@pytest.mark.parametrize("objective", ["grpo", "dpo"])
def test_groups_without_log_probs_are_named_before_a_model_is_loaded(tmp_path: Path, objective: str) -> None:
    rows = [group("one", [0.0, 1.0]), group("two", [0.0, 1.0], completion_logprobs=None)]
    with pytest.raises(InputError) as caught:
        make_objective(TrainOptions(model="m", objective=objective), data_of(tmp_path, *rows))
    assert str(caught.value).startswith(f"Group {rows[1][0]['group_id']} has a sample without completion_logprobs")


def test_a_correction_without_any_log_probs_is_refused(tmp_path: Path) -> None:
    options = TrainOptions(model="m", correction="sequence-is", ratio_cap=2.0)
    with pytest.raises(InputError, match="no sample has completion_logprobs to compare with"):
        make_objective(options, data_of(tmp_path / "none", group("one", [0.0, 1.0], completion_logprobs=None)))
    some = data_of(tmp_path / "some", group("one", [0.0, 1.0], completion_logprobs=None), group("two", [0.0, 1.0]))
    assert not make_objective(options, some)[1].is_off


def test_a_correction_of_samples_from_an_unknown_distribution_is_refused(tmp_path: Path) -> None:
    options = TrainOptions(model="m", correction="truncated-is", ratio_cap=2.0)
    unknown = group("two", [0.0, 1.0], completion_behavior_logprobs=[[-0.1] * 2, None])
    data = data_of(tmp_path, group("one", [0.0, 1.0]), unknown)
    with pytest.raises(InputError, match=f"distribution that sampled. Group {unknown[0]['group_id']} was"):
        make_objective(options, data)
    make_objective(TrainOptions(model="m", objective="grpo"), data)  # its ratio is that of the policies


@pytest.mark.parametrize(("temperature", "is_unknown"), [(0.7, True), (1.0, False)])
def test_a_table_of_version_1_tells_its_distribution_by_its_temperature(
    tmp_path: Path, temperature: float, is_unknown: bool
) -> None:
    """It has no column for other log-probs than the policy's."""
    row, advantages = group("one", [0.0, 1.0])
    tables: dict[str, TableReader] = {}
    for kind, rows in {"groups": row, "advantages": advantages}.items():
        identity = Provenance(kind, kind, {"temperature": temperature, "top_p": 1.0}, {}, contract=1)
        writer = TableWriter(str(tmp_path / kind), identity, 1)
        writer.write(0, pa.Table.from_pylist([rows], schema=TABLES[kind].arrow()))
        writer.finish()
        tables[kind] = open_table(str(tmp_path / kind))
    data = TrainingSet(tables["groups"], tables["advantages"])
    samples = [sequence for sequence in data[0].sequences if not sequence.is_reference]
    assert [sample.sampling_is_unknown for sample in samples] == [is_unknown] * 2


def test_sft_without_any_reference_is_refused(tmp_path: Path) -> None:
    without = [group(name, [0.0, 1.0], reference_token_ids=None) for name in ("one", "two")]
    options = TrainOptions(model="m", objective="sft")
    with pytest.raises(InputError, match="Objective 'sft' trains on references, and no group has one"):
        make_objective(options, data_of(tmp_path / "none", *without))
    make_objective(options, data_of(tmp_path / "some", *without, group("three", [0.0, 1.0])))


def test_a_sequence_knows_its_group_and_its_mean_reward(tmp_path: Path) -> None:
    """The mean is over the samples that have an advantage."""
    first, second = group("one", [0.0, 1.0]), group("two", [4.0, 1.0])
    second[1]["advantages"][0] = None
    data = data_of(tmp_path, first, second)
    found = [(each.group_id, each.group_mean_reward) for index in range(2) for each in data[index].sequences]
    ids = [first[0]["group_id"], second[0]["group_id"]]
    assert found == [(ids[0], 0.5)] * 3 + [(ids[1], 1.0)] * 2


@pytest.mark.parametrize(
    ("max_rounds_behind", "kept"),
    [(None, ["a", "b", "c", "d"]), (0, ["c"]), (1, ["c"]), (2, ["b", "c"]), (5, ["a", "b", "c", "d"])],
)
def test_groups_that_are_too_many_rounds_behind_the_newest_are_left_out_and_counted(
    tmp_path: Path, max_rounds_behind: int | None, kept: list[str]
) -> None:
    rounds = {"a": 0, "b": 3, "c": 5, "d": 0}
    rows = {
        name: group(name, [0.0, 1.0], round=number, policy=f"policy of round {number}")
        for name, number in rounds.items()
    }
    data = data_of(tmp_path, *rows.values(), max_rounds_behind=max_rounds_behind)
    assert [data[index].group_id for index in range(len(data))] == [rows[name][0]["group_id"] for name in kept]
    assert (data.num_groups, data.num_too_old) == (4, 4 - len(kept))
    # Whose policies sampled is asked of the groups that are left.
    assert data.policies == {f"policy of round {rounds[name]}" for name in kept}


def test_the_newest_round_counts_although_its_groups_teach_nothing(tmp_path: Path) -> None:
    newest = group("newest", [1.0, 1.0], round=2)
    newest[1].update(advantages=[None, None], reference_advantage=None)  # type: ignore[attr-defined]
    data = data_of(tmp_path, group("old", [0.0, 1.0], round=0), newest, max_rounds_behind=1)
    assert (len(data), data.num_too_old) == (0, 1)


@pytest.mark.slow
def test_an_argument_makes_another_training(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    out = str(tmp_path / "out")
    options: dict[str, Any] = {"model": str(model), "device": "cpu", "groups_per_step": 10, "objective": "opmd"}
    first = train_model(groups, advantages, out, TrainOptions(**options))
    other = TrainOptions(**options, objective_arg=["tau=2"])
    made = train_provenance(
        other, open_table(groups).fingerprint, open_table(advantages).fingerprint, locate_model(str(model))
    )
    assert made.fingerprint != first.fingerprint
