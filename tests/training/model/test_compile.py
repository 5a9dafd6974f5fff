"""`--compile`, where the rest of the suite has torch's compiler switched off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.training.ranks import ENVIRONMENT


@pytest.mark.slow
def test_compiled_layers_train_to_the_weights_of_plain_ones(tmp_path: Path, groups: str, advantages: str) -> None:
    model = tiny.make_model(tmp_path / "model", num_hidden_layers=1)  # every layer is compiled for itself
    options = ["--model", model, "--device", "cpu", "--groups-per-step", 2, "--max-steps", 2, "--learning-rate", 1e-3]
    options += ["--allow-off-policy"]
    tiny.grao_json("train", groups, advantages, tmp_path / "plain", *options)
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "TORCH_COMPILE_DISABLE"}
    arguments = map(str, [groups, advantages, tmp_path / "compiled", *options, "--compile", "--json"])
    made = subprocess.run(
        [sys.executable, "-m", "grao_pipeline", "train", *arguments],
        env=environment | {"TORCH_LOGS": "graph_code"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(made.stdout)["steps"] == 2
    assert "TRACED GRAPH" in made.stderr  # the layers were indeed compiled
    before, plain, compiled = (
        load_file(path / "model.safetensors") for path in (model, tmp_path / "plain", tmp_path / "compiled")
    )
    for name in plain:
        # AdamW moves a weight by up to the learning rate, 1e-3, however small its gradient: rounding may show in 5 %.
        torch.testing.assert_close(compiled[name], plain[name], rtol=0, atol=5e-5)
    assert any(not torch.allclose(before[name], plain[name], atol=1e-4) for name in plain)
