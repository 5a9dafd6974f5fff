"""The Progress seam: the base ignores everything, the fake records, and every verb tells how far it is."""

import json
from pathlib import Path

import pytest

from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.evaluation.evaluate import evaluate
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.importing.import_groups import import_groups
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.progress import SILENT, RecordedBar, RecordedProgress
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model


def count(bar: RecordedBar) -> tuple[float, float | None, float, str]:
    """(initial, total, done, unit) of a task that has ended."""
    assert bar.is_closed
    return bar.initial, bar.total, round(bar.done, 6), bar.unit


def test_the_base_ignores_everything() -> None:
    SILENT.note("a note")
    SILENT.warn("a warning")
    with SILENT.track("sampling", 3, "groups", 1) as bar, SILENT.paused():
        bar.advance(2, reward=0.5)
        bar.log("a line")


def test_the_fake_records_lines_tasks_and_the_newest_facts() -> None:
    lines: list[str] = []
    progress = RecordedProgress(lines.append)
    progress.note("a note")
    progress.warn("a warning")
    with progress.track("sampling", 3, "groups", initial=1) as bar:
        bar.log("a line")
        bar.advance(1, reward=0.5, tokens_per_second=10)
        bar.advance(1, reward=0.6)
        assert not bar.is_closed
    assert progress.notes == lines == ["a note", "a warning", "a line"]
    assert progress.warnings == ["a warning"]
    assert count(progress.bar("samp")) == (1, 3, 3, "groups")
    assert bar.facts == {"reward": 0.6, "tokens_per_second": 10}


def test_prompts_and_import_count_rows(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {i}.", "completion": "ok", "responses": ["yes", "no"]} for i in (0, 0, 1)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source, progress = str(tmp_path / "rows.jsonl"), RecordedProgress()
    build_prompts(source, str(tmp_path / "prompts"), PromptsOptions(), progress)
    assert count(progress.bar("reading rows")) == (0, None, 3, "rows")
    assert progress.bar("reading rows").facts == {"dropped": 1}
    import_groups(source, str(tmp_path / "import"), ImportOptions(limit=3, prompts_per_part=1), progress)
    assert count(progress.bar("reading rows")) == (0, 3, 3, "rows")
    assert count(progress.bar("writing")) == (0, 2, 2, "parts")


@pytest.mark.slow
def test_generate_names_the_model_that_it_loads_and_counts_groups(tmp_path: Path, model: Path, prompts: str) -> None:
    options = GenerateOptions(
        model=str(model), engine="transformers", samples=2, max_new_tokens=4, prompts_per_part=4, worker="0/2"
    )
    first, second = RecordedProgress(), RecordedProgress()
    generate_groups(prompts, str(tmp_path / "groups"), options, first)
    assert first.bar(f"loading {model}").is_closed
    assert count(first.bar("sampling")) == (0, 6, 6, "groups")  # parts 0 and 2: 4 and 2 prompts
    speed = first.bar("sampling").facts["tokens_per_second"]
    assert isinstance(speed, float)
    assert speed > 0
    generate_groups(prompts, str(tmp_path / "groups"), options.model_copy(update={"worker": "1/2"}), second)
    assert count(second.bar("sampling")) == (6, 10, 10, "groups")


def test_score_counts_groups_and_what_the_cache_knew(tmp_path: Path, groups: str) -> None:
    options = ScoreOptions(reward="length", reward_arg=["target=3"])
    progress = RecordedProgress()
    for name in ("first", "second"):
        summary = score_groups(groups, str(tmp_path / name), options, progress)
        bar = progress.bar("scoring")
        assert count(bar) == (0, 10, 10, "groups")
        num_judgements = summary.cache_hits + summary.cache_misses
        assert bar.facts == {
            "judgements": num_judgements,
            "cache_hits": summary.cache_hits,
            "cache_misses": summary.cache_misses,
        }
        assert num_judgements == 10 * 4 + 9  # samples, and references
    assert bar.facts["cache_misses"] == 0


@pytest.mark.slow
def test_advantages_train_and_evaluate_show_their_numbers(tmp_path: Path, model: Path, groups: str) -> None:
    scores, advantages = str(tmp_path / "scores"), str(tmp_path / "advantages")
    progress = RecordedProgress()
    score_groups(groups, scores, ScoreOptions(reward="length", reward_arg=["target=3"]))

    compute_advantages(groups, advantages, AdvantagesOptions(scores=[WeightedScores(url=scores)]), progress)
    assert count(progress.bar("computing advantages")) == (0, 3, 3, "parts")
    assert progress.bar("computing advantages").facts["groups"] == 10

    options = TrainOptions(model=str(model), groups_per_step=4)
    train_model(groups, advantages, str(tmp_path / "model"), options, progress)
    names = ["reading groups", "loading", "checking attention", "training", "writing"]
    assert all(progress.bar(name).is_closed for name in names)
    assert count(progress.bar("training")) == (0, 3, 3, "steps")
    assert set(progress.bar("training").facts) == {"J", "reward", "grad_norm", "tokens_per_second"}

    evaluate(groups, scores, str(tmp_path / "evaluation"), EvaluateOptions(), progress)
    assert count(progress.bar("reading groups and scores")) == (0, 3, 3, "parts")
