"""The two real engines, opened once, and prompts for them."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from grao_pipeline.arguments import NoArguments
from grao_pipeline.generation.engines.base import Engine, EngineOptions
from grao_pipeline.generation.engines.transformers import TransformersEngine
from grao_pipeline.generation.engines.vllm import VllmArguments, VllmEngine
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.generation.common import STOPS, Group, KeptOpen
from tests.tiers import engine_in_its_own_process


@pytest.fixture(scope="session")
def stopping_model(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The tiny model, with the stop tokens of `STOPS`."""
    path = tmp_path_factory.mktemp("stopping") / "model"
    shutil.copytree(model, path)
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": STOPS[1:]}))
    return path


@pytest.fixture(scope="session")
def vllm_engine(model: Path) -> Iterator[Engine]:
    """Real vLLM with the tiny model's weights. Runs 64 sequences at once."""
    arguments = VllmArguments(max_num_seqs=64, kv_cache_memory_bytes=16 << 20)
    with engine_in_its_own_process():
        engine = VllmEngine(EngineOptions(str(model), "float32", 256, "cpu", 32), arguments)
    yield KeptOpen(engine)
    engine.close()


@pytest.fixture(scope="session")
def transformers_engine(model: Path) -> Iterator[Engine]:
    """Batches of 32 prompts."""
    engine = TransformersEngine(EngineOptions(str(model), "float32", 256, "cpu", 32), NoArguments())
    yield KeptOpen(engine)
    engine.close()


@pytest.fixture(scope="session", params=["vllm", "transformers"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Both engines, one after the other."""
    engine: Engine = request.getfixturevalue(f"{request.param}_engine")
    return engine


@pytest.fixture
def sample(tmp_path: Path, stopping_model: Path) -> Callable[..., list[Group]]:
    """Run the verb with an engine that is open already; the groups."""

    def run(engine: Engine, prompts: str, **options: Any) -> list[Group]:
        out = tmp_path / f"groups-{len(list(tmp_path.iterdir()))}"
        chosen = GenerateOptions(**{"model": str(stopping_model), "samples": 4, "max_new_tokens": 12, **options})
        generate_groups(prompts, str(out), chosen, make_engine=lambda _: engine)
        groups: list[Group] = open_table(str(out), "groups").arrow().to_pylist()
        return groups

    return run


@pytest.fixture(scope="session")
def mixed_prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eleven prompts from 1 to 90 words; every third has no reference, two differ in their metadata only."""
    rows = [
        tiny.prompt_row(" ".join(["plum"] * length), None if index % 3 == 2 else "It is five.", index=index)
        for index, length in enumerate([1, 40, 3, 90, 2, 25, 7, 60, 5, 5, 12])
    ]
    return tiny.write_table(tmp_path_factory.mktemp("mixed") / "table", "prompts", rows)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny matrices gain nothing from a second thread, and lose much where other processes want the core too."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
