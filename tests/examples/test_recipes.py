"""The rounds of the examples that need a real model are planned with a tiny one: every option and input is right."""

from pathlib import Path

import pytest

from grao_pipeline.rounds.config.compile import load_plan
from tests import tiny

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """The commands run in the repository's folder, with a tiny model as policy and judge."""
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.setenv("POLICY", str(model))
    monkeypatch.setenv("JUDGE", str(model))


@pytest.mark.parametrize("name", ["gsm8k/rounds.yaml", "hh_judge/paper.yaml", "hh_judge/small.yaml"])
def test_the_rounds_of_a_recipe_are_valid(name: str) -> None:
    plan = load_plan(str(EXAMPLES / name))
    assert all(variant.rounds for variant in plan.variants)


def test_the_papers_recipe_is_planned_with_its_settings(tmp_path: Path) -> None:
    """Eq. 3 and the training details of arXiv 2508.07750."""
    recipe = (EXAMPLES / "hh_judge/paper.yaml").read_text()
    path = tmp_path / "paper.yaml"
    path.write_text(recipe.replace("runs/hh-judge", str(tmp_path / "run")))
    printed = tiny.grao("rounds", "plan", path, "--resolved").stdout
    for line in ("samples: 8", "temperature: 0.7", "max_new_tokens: 2048", "beta: 0.5", "lambda: 0.6"):
        assert f"    {line}\n" in printed
    assert "    groups_per_step: 64\n" in printed
