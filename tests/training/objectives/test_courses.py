"""Arguments that change over a training."""

from pathlib import Path

import pytest
import torch

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.errors import UsageError
from grao_pipeline.schedules import parse_course
from grao_pipeline.training.objectives.base import FakeObjective, ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.objectives.make import construct
from grao_pipeline.training.options import TrainOptions
from tests import tiny
from tests.training.ranks import metrics

OWN = f"{__name__}:Reporting"


class Reporting(FakeObjective):
    """Plain likelihood; reports its argument and how much of the training is done."""

    class Arguments(PluginArguments):
        weight: float = argument(1.0, "Factor of the loss.", le=1.0)

    arguments: Arguments

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        outputs = super().__call__(inputs)
        groups = float(inputs.group.max()) + 1
        sums = {"done": inputs.progress * groups, "weight": self.arguments.weight * groups}
        return ObjectiveOutputs(outputs.loss, {name: torch.tensor(value) for name, value in sums.items()})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dip(0.04, 0.1)", [0.07, 0.055, 0.04, 0.07, 0.1]),  # GRPO-D
        ("linear(1, 0)", [1, 0.85, 0.7, 0.35, 0]),
        ("cosine(1,0)", [1, 0.9455, 0.7939, 0.2730, 0]),  # (1 + cos πt) / 2
    ],
)
def test_courses_are_the_hand_worked_ones(text: str, expected: list[float]) -> None:
    course = parse_course(text, "objective_arg")
    assert course is not None
    assert [course(share) for share in (0, 0.15, 0.3, 0.65, 1)] == pytest.approx(expected, abs=1e-4)


def test_an_objective_has_the_value_of_the_moment() -> None:
    objective = construct(TrainOptions(model="m", objective=OWN, objective_arg=["weight=linear(0, 0.5)"]))
    assert [objective.at(share).arguments for share in (0.0, 0.5, 1.0)] == [
        Reporting.Arguments(weight=weight) for weight in (0.0, 0.25, 0.5)
    ]
    constant = construct(TrainOptions(model="m", objective=OWN))
    assert constant.at(0.5) is constant


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("linear(0)", r"objective_arg: 'linear\(0\)': expected two numbers, e.g. linear\(0.1, 0\)"),
        ("linear(0, x)", "expected two numbers"),
        ("linear(0, 2)", "weight=2.0: .*less than or equal to 1"),
        ("spline(0, 1)", r"weight=spline\(0, 1\): .*valid number"),
    ],
)
def test_a_course_that_is_no_course_or_leaves_the_bounds_is_refused(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        construct(TrainOptions(model="m", objective=OWN, objective_arg=[f"weight={value}"]))


@pytest.mark.slow
def test_a_training_walks_along_the_course(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    """However its steps are cut into micro-batches, the share is that of the step."""
    options = ["--model", model, "--device", "cpu", "--groups-per-step", 3, "--tokens-per-batch", 40]
    objective = ["--objective", OWN, "--objective-arg", "weight=linear(1, 0)"]
    summary = tiny.grao_json("train", groups, advantages, tmp_path / "out", *options, *objective)
    records = metrics(tmp_path / "out")
    shares = [step / (summary["steps"] - 1) for step in range(summary["steps"])]
    assert len(shares) > 2
    # A group that is cut is counted in each of its pieces: the two sums have the same factor.
    found = [record["done"] / (record["done"] + record["weight"]) for record in records]
    assert found == pytest.approx(shares)
