"""Inputs of a training: the sampled groups with advantages."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.ranks import Training, of_40_steps


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from a second thread, and on a busy machine they wait for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def dropout_model(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The tiny model with dropout on its attention: its training draws random numbers."""
    path = tmp_path_factory.mktemp("dropout") / "base"
    shutil.copytree(model, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.2}))
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, groups: str, advantages: str, dropout_model: Path) -> Path:
    """A training of 40 steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    Training(1, groups, advantages, out, *of_40_steps(dropout_model)).summary()
    return out
