"""The preset `stable` is its options and nothing else: the same outputs, with the same fingerprints."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from grao_pipeline import AdvantagesOptions, TrainOptions
from grao_pipeline.rounds.config.compile import load_plan
from tests import tiny

ROUNDS = """
output: out
model: base
rounds: 2
prompts: {train: data}
score: {reward: length, reward_arg: [target=3]}
"""


def test_the_preset_is_its_parts() -> None:
    advantages = AdvantagesOptions.model_validate({"preset": "stable"})
    assert advantages.content() == AdvantagesOptions(reference_floor=0.0).content()
    train = TrainOptions.model_validate({"model": "m", "preset": "stable"})
    assert train.content() == TrainOptions(model="m", correction="truncated-is", ratio_cap=1.0).content()
    paper = TrainOptions.model_validate({"model": "m", "preset": "paper"})
    assert paper.content() == TrainOptions(model="m").content()


def test_options_that_are_given_win_over_the_preset() -> None:
    assert AdvantagesOptions.model_validate({"preset": "stable", "reference_floor": -1}).reference_floor == -1.0
    wider = TrainOptions.model_validate({"model": "m", "preset": "stable", "ratio_cap": 2})
    assert (wider.correction, wider.ratio_cap) == ("truncated-is", 2.0)
    off = TrainOptions.model_validate({"model": "m", "preset": "stable", "correction": "none"})
    assert (off.correction, off.ratio_cap) == ("none", None)
    with pytest.raises(ValidationError, match="preset"):
        TrainOptions.model_validate({"model": "m", "preset": "wild"})


def test_the_command_line_takes_a_preset() -> None:
    options = TrainOptions.model_validate({"model": "m", "preset": "stable"})
    expected = ["--correction", "truncated-is", "--model", "m", "--preset", "stable", "--ratio-cap", "1.0"]
    assert tiny.flags("train", options) == expected


def test_the_preset_of_a_rounds_file_is_that_of_its_stages(tmp_path: Path) -> None:
    """In every round; a section that names another preset, or another option, keeps it."""
    path = tmp_path / "rounds.yaml"
    path.write_text(ROUNDS + "preset: stable\ntrain: {ratio_cap: 3}\nadvantages: {preset: paper}\n")
    (variant,) = load_plan(str(path)).variants
    for plan in variant.rounds:
        train, advantages = plan.only("train"), plan.only("advantages")
        assert train is not None
        assert advantages is not None
        assert isinstance(train.options, TrainOptions)
        assert isinstance(advantages.options, AdvantagesOptions)
        assert (train.options.correction, train.options.ratio_cap) == ("truncated-is", 3.0)
        assert advantages.options.reference_floor is None
    path.write_text(ROUNDS + "preset: stable\n")
    (variant,) = load_plan(str(path)).variants
    settings = variant.rounds[1].only("advantages")
    assert settings is not None
    assert isinstance(settings.options, AdvantagesOptions)
    assert settings.options.reference_floor == 0.0
