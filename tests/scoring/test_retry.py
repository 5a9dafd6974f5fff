"""`--retry-errors`: stored errors are judged once more, and everything made from the scores notices."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.errors import GraoError, InputError, MismatchError
from grao_pipeline.evaluation.evaluate import evaluate
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.prompts.curriculum import choose_prompts
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.references.options import ReferencesOptions
from grao_pipeline.references.references import write_references
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, FakeReward, Judgement
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.scoring.summary import ScoreSummary
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model
from tests import tiny


class Flaky(FakeReward):
    """Fails on texts that contain a `bad` word; a third of the other lengths cannot be written in decimals."""

    def __init__(self, bad: Sequence[str], stop_at: str = "") -> None:
        super().__init__()
        self.bad = bad
        self.stop_at = stop_at
        self.asked: list[str] = []

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        self.asked += [candidate.completion for candidate in candidates]
        if self.stop_at in self.asked:
            raise KeyboardInterrupt
        return [
            Judgement(None, "error", "no connection")
            if any(word in candidate.completion for word in self.bad)
            else Judgement.of(len(candidate.completion) / 3, "measured")
            for candidate in candidates
        ]


ROWS = [
    tiny.group_row("one", ["a", "down b"], reference="down y"),
    tiny.group_row("two", ["cc", "ddd"], reference="z"),
    tiny.group_row("three", ["down e", "ff"], reference=None),
]


def score(path: Path, reward: FakeReward, **options: Any) -> ScoreSummary:
    chosen = ScoreOptions(reward="fake", use_cache=False, **options)
    return score_groups(str(path / "groups"), str(path / "scores"), chosen, reward=reward)


def parts(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.glob("part-*.parquet")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Groups in three parts, and scores with errors in the first and the last."""
    tiny.write_table(tmp_path / "groups", "groups", ROWS, rows_per_part=1)
    score(tmp_path, Flaky(["down"]))
    return tmp_path


def rows(place: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = open_table(str(place / "scores"), "scores").arrow().to_pylist()
    return table


def test_only_errors_are_judged_again_and_the_rest_stays_as_it_is(place: Path) -> None:
    before, files = rows(place), parts(place / "scores")
    reward = Flaky([])
    summary = score(place, reward, retry_errors=True)
    assert reward.asked == ["down b", "down y", "down e"]
    after = rows(place)
    assert [row["statuses"] for row in after] == [["ok", "ok"]] * 3
    assert after[0]["rewards"][0] == before[0]["rewards"][0]
    assert after[0]["reference_reward"] == pytest.approx(2)
    assert after[1] == before[1]
    changed = {name for name, data in parts(place / "scores").items() if data != files[name]}
    assert changed == {"part-000000.parquet", "part-000002.parquet"}
    assert (summary.samples_retried, summary.errors_left, summary.parts_rewritten) == (2, 0, 2)
    assert summary.statuses == {"ok": 6}
    assert "2 parts were rewritten" in summary.notes[0]


def test_errors_that_stay_change_nothing(place: Path) -> None:
    files = parts(place / "scores")
    summary = score(place, Flaky(["down"]), retry_errors=True)
    assert (summary.samples_retried, summary.errors_left, summary.parts_rewritten) == (2, 2, 0)
    assert parts(place / "scores") == files


def test_a_retry_that_is_stopped_is_resumed(place: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score(place, Flaky([], stop_at="down e"), retry_errors=True)
    with pytest.raises(InputError, match="incomplete"):  # the first part is new, and no manifest contradicts it
        rows(place)
    reward = Flaky([])
    score(place, reward, retry_errors=True)
    assert reward.asked == ["down e"]
    assert [row["statuses"] for row in rows(place)] == [["ok", "ok"]] * 3


def test_advantages_of_the_earlier_scores_are_computed_again(place: Path) -> None:
    options = AdvantagesOptions(scores=[WeightedScores(url=str(place / "scores"))])
    places = str(place / "groups"), str(place / "advantages")
    first = compute_advantages(*places, options)
    score(place, Flaky([]), retry_errors=True)
    progress = RecordedProgress()
    second = compute_advantages(*places, options, progress)
    assert (first.unscored_samples, second.unscored_samples, second.parts_made) == (2, 0, 3)
    assert "was made from parts that were rewritten since" in str(progress.warnings)
    stored = open_table(places[1], "advantages").arrow().column("rewards").to_pylist()
    assert None not in [reward for rewards in stored for reward in rewards]
    assert compute_advantages(*places, options).parts_made == 0


def test_an_evaluation_of_the_earlier_scores_is_made_again(place: Path) -> None:
    arguments = str(place / "groups"), str(place / "scores"), str(place / "metrics"), EvaluateOptions()
    before = evaluate(*arguments)
    score(place, Flaky([]), retry_errors=True)
    progress = RecordedProgress()
    after = evaluate(*arguments, progress)
    assert "was made from scores that were rewritten since" in progress.warnings[0]
    metrics = [summary.metrics["mean_reward"] for summary in (before, after)]
    assert [metric and metric["n"] for metric in metrics] == [3, 3]
    assert metrics[0] != metrics[1]
    assert evaluate(*arguments) == after


@pytest.mark.slow
def test_prompts_and_models_of_the_earlier_scores_are_not_taken_for_current(place: Path, model: Path) -> None:
    """Groups were sampled from the prompts, and a model is expensive: neither is replaced without being asked."""
    groups, scores = str(place / "groups"), str(place / "scores")
    prompts = tiny.write_table(place / "prompts", "prompts", [tiny.prompt_row(text) for text in ("one", "two")])
    advantages = AdvantagesOptions(scores=[WeightedScores(url=scores)])

    def make() -> list[str]:
        """The places, whatever is made for the first time."""
        compute_advantages(groups, str(place / "advantages"), advantages)
        training = TrainOptions(model=str(model), device="cpu", allow_off_policy=True, max_steps=1)
        outputs: dict[str, Callable[[str], object]] = {
            "chosen": lambda out: choose_prompts(prompts, out, CurriculumOptions(history=[(groups, scores)])),
            "best": lambda out: write_references(prompts, out, ReferencesOptions(groups=groups, scores=scores)),
            "trained": lambda out: train_model(groups, str(place / "advantages"), out, training),
        }
        refused = []
        for name, run in outputs.items():
            try:
                run(str(place / name))
            except MismatchError as error:
                assert "was made from scores or advantages that were rewritten since" in str(error)  # noqa: PT017
                refused.append(name)
        return refused

    assert make() == make() == []
    score(place, Flaky([]), retry_errors=True)
    assert make() == ["chosen", "best", "trained"]


def test_workers_do_not_retry() -> None:
    with pytest.raises((GraoError, ValueError), match="run it without --worker"):
        ScoreOptions(reward="fake", retry_errors=True, worker="0/2")


def test_the_summary_of_a_second_run_describes_the_whole_table(place: Path) -> None:
    reward = Flaky(["down"])
    summary = score(place, reward)
    assert reward.asked == []
    assert (summary.parts_made, summary.parts_found) == (0, 3)
    assert (summary.samples, summary.statuses) == (6, {"error": 2, "ok": 4})
    assert summary.mean_reward == pytest.approx((1 + 2 + 3 + 2) / 3 / 4)
    assert (summary.references_scored, summary.references_failed) == (1, 1)
