"""Where residents stay, one reward model judges table after table."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from grao_pipeline.residence import RESIDENCE
from grao_pipeline.scoring.rewards.reward_model import classifier_reward
from grao_pipeline.scoring.rewards.reward_model.base import ClassifierOptions
from grao_pipeline.scoring.rewards.reward_model.transformers import TransformersClassifier
from grao_pipeline.storage.reader import open_table
from tests import tiny

opened: list[Path] = []


class Counted(TransformersClassifier):
    """The real classifier; its openings are counted."""

    def __init__(self, options: ClassifierOptions) -> None:
        opened.append(options.directory)
        super().__init__(options)


@pytest.fixture
def residence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened.clear()
    monkeypatch.setitem(classifier_reward.CLASSIFIERS, "transformers", f"{__name__}:Counted")
    RESIDENCE.open()
    yield
    RESIDENCE.close()


@pytest.mark.slow
@pytest.mark.usefixtures("residence")
def test_a_reward_model_stays_for_the_next_table_and_others_do_not_take_it(groups: str, tmp_path: Path) -> None:
    models = [tiny.make_reward_model(tmp_path / f"model-{seed}", seed=seed) for seed in (0, 1)]

    def rewards(model: Path, out: str) -> list[list[float]]:
        options = ["--reward", "reward-model", "--reward-arg", f"model={model}", "--device", "cpu", "--no-use-cache"]
        assert tiny.grao_json("score", groups, tmp_path / out, *options)["cache_misses"] > 0
        return list(open_table(str(tmp_path / out), "scores").polars()["rewards"].to_list())

    first, again, other = rewards(models[0], "a"), rewards(models[0], "b"), rewards(models[1], "c")
    assert opened == models
    assert first == again != other
    assert rewards(models[0], "d") == first
    assert opened == models
