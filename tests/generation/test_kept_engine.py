"""When an engine stays, what it samples then, and when a new one is opened."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from grao_pipeline.arguments import NoArguments
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, SampledGroup, Sampling
from grao_pipeline.generation.engines.make import EngineRecipe
from grao_pipeline.generation.engines.transformers import TransformersEngine
from grao_pipeline.generation.kept_engine import lent_engine
from grao_pipeline.residence import RESIDENCE
from tests import tiny

REQUESTS = [Request((0, row), [30 + row] * (1 + 5 * row), 3, 1000 * row, 12) for row in range(6)]
opened: list[str] = []
"""The models of the engines that were opened."""


class Counted(TransformersEngine):
    """The real engine; its openings are counted."""

    def __init__(self, options: EngineOptions, arguments: NoArguments) -> None:
        opened.append(options.model)
        super().__init__(options, arguments)


@pytest.fixture
def residence() -> Iterator[None]:
    opened.clear()
    RESIDENCE.open()
    yield
    RESIDENCE.close()


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the same architecture, with other weights."""
    return tiny.make_model(tmp_path_factory.mktemp("other") / "model", seed=1)


def options_of(model: Path) -> EngineOptions:
    return EngineOptions(str(model), "float32", 256, "cpu", 32, weights=f"of {model}")


def samples(engine: Engine) -> list[SampledGroup]:
    return sorted(chain(*engine.generate([REQUESTS], Sampling(1.0, 0.9, 12, (2,)))), key=lambda group: group.key)


def sampled_by(options: EngineOptions) -> list[SampledGroup]:
    """What a run samples."""
    engine = lent_engine(EngineRecipe(f"{__name__}:Counted", {}, options))
    try:
        return samples(engine)
    finally:
        engine.close()


@pytest.mark.slow
def test_an_engine_that_stays_samples_as_a_fresh_one_of_the_same_weights(model: Path, other_model: Path) -> None:
    models = [model, model, other_model, model]
    fresh = [sampled_by(options_of(path)) for path in models]
    assert fresh[0] == fresh[1] != fresh[2]
    opened.clear()
    RESIDENCE.open()
    try:
        assert [sampled_by(options_of(path)) for path in models] == fresh
    finally:
        RESIDENCE.close()
    assert opened == [str(model)]


def _with_another_config(options: EngineOptions, folder: Path) -> EngineOptions:
    shutil.copytree(options.model, folder / "copy")
    config = folder / "copy" / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    return replace(options, model=str(folder / "copy"), weights="others")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda options, _: replace(options, batch_size=2),
        lambda options, _: replace(options, context_length=128),
        lambda options, _: replace(options, reads_text=True),
        _with_another_config,
    ],
    ids=["batch size", "context length", "stop strings", "config"],
)
@pytest.mark.usefixtures("residence")
def test_another_option_or_architecture_opens_a_new_engine(
    change: Callable[[EngineOptions, Path], EngineOptions], model: Path, tmp_path: Path
) -> None:
    options = options_of(model)
    sampled_by(options)
    sampled_by(options)
    assert len(opened) == 1
    sampled_by(change(options, tmp_path))
    assert len(opened) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("residence")
def test_an_engine_whose_run_was_broken_off_does_not_stay(model: Path) -> None:
    engine = lent_engine(EngineRecipe(f"{__name__}:Counted", {}, options_of(model)))
    stream = engine.generate([REQUESTS, REQUESTS], Sampling(1.0, 0.9, 12, (2,)))
    next(iter(stream))
    engine.close()
    sampled_by(options_of(model))
    assert len(opened) == 2
