"""`merge` in the rounds: the next round starts from the trained model moved on, or averaged."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests import tiny
from tests.rounds.running import run


def write(directory: Path, model: Path, prompts: str, merge: dict[str, Any], **train: Any) -> Path:
    config: dict[str, Any] = {
        "output": str(directory / "run"),
        "model": str(model),
        "rounds": 2,
        "prompts": {"train": prompts},
        "generate": {"engine": "transformers", "samples": 2, "max_new_tokens": 3, "temperature": 1.0},
        "score": {"reward": "length", "reward_arg": ["target=12", "unit=characters"]},
        "train": {"learning_rate": 1e-2, "groups_per_step": 100, **train},
        "merge": merge,
    }
    path = directory / "rounds.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def weights(place: Path) -> dict[str, torch.Tensor]:
    return {name: value.double() for name, value in load_file(place / "model.safetensors").items()}


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["momentum", "average"])
def test_every_round_continues_from_the_merged_model(tmp_path: Path, model: Path, prompts: str, rule: str) -> None:
    config = write(tmp_path, model, prompts, {rule: 0.25})
    made = run(config)["made"]
    assert run(config)["made"] == []
    rounds = [tmp_path / "run" / f"round-{number}" for number in range(2)]
    trained, after = ([weights(place / name) for place in rounds] for name in ("train", "merge"))
    base = weights(model)
    # momentum: θ_r + ¼ (θ_r − θ_{r−1}) of what was trained; average: ¼ of the average so far, ¾ of what was trained.
    earlier = [base, trained[0] if rule == "momentum" else after[0]]
    factors = (1.25, -0.25) if rule == "momentum" else (0.75, 0.25)
    for now, before, found in zip(trained, earlier, after, strict=True):
        for name, value in found.items():
            expected = factors[0] * now[name] + factors[1] * before[name]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    start = tiny.grao_json("inspect", (rounds[1] / "train").resolve())["provenance"]["inputs"]["model"]
    assert start == tiny.grao_json("inspect", (rounds[0] / "merge").resolve())["provenance"]["fingerprint"]
    assert len([name for name in made if name.endswith("/merge")]) == 2
    summary = tiny.grao_json("rounds", "prune", config)
    assert sorted(summary["pruned"]) == ["round-0/merge", "round-0/train"]
    assert run(config)["made"] == []


@pytest.mark.parametrize(
    ("merge", "train", "problem"),
    [
        ({}, {}, "give momentum or average"),
        ({"momentum": 0.1, "average": 0.1}, {}, "not both"),
        ({"model": ["a", "b"], "momentum": 0.1}, {}, "the rounds decide which models are merged"),
        ({"momentum": 0.1}, {"lora_rank": 2, "save_adapter": True}, "the rounds keep an adapter"),
        ({"average": 0.1}, {"carry_optimizer": True}, "the rounds keep the optimizer's state"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_anything_runs(
    tmp_path: Path, model: Path, prompts: str, merge: dict[str, Any], train: dict[str, Any], problem: str
) -> None:
    result = tiny.grao("rounds", "plan", write(tmp_path, model, prompts, merge, **train))
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
    assert "rounds.yaml:" in result.stderr
