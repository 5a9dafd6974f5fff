"""Groups of the sample browser against the tables, read by Polars; weights in J against the trainer's objective."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.report.group_sets import GroupSet, Weighing, group_sets
from grao_pipeline.report.options import ReportOptions
from grao_pipeline.report.outputs import outputs_below
from grao_pipeline.report.report import write_report
from grao_pipeline.report.samples import OpenSet, read_groups
from grao_pipeline.report.statistics import histograms, set_numbers
from grao_pipeline.storage.reader import open_table
from grao_pipeline.testing import score_row
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.micro_batch import objective_inputs
from grao_pipeline.training.objectives.grao import Grao
from grao_pipeline.view.catalog import Catalog
from grao_pipeline.view.options import ViewOptions
from tests.tiny import group_row, write_table


def sets_of(run: Path) -> dict[str, GroupSet]:
    outputs, problems = outputs_below(run)
    assert problems == []
    return {one.key: one for one in group_sets(outputs)}


def test_a_run_is_found_with_its_rounds_variants_and_companions(finished_run: Path) -> None:
    sets = sets_of(finished_run)
    assert [one.label for one in sets.values()] == [
        "base model · evaluation",
        "round 0 · training",  # both variants share them: β is of the training alone
        "beta=0.25 · round 0 · evaluation",
        "beta=0.25 · round 1 · evaluation",
        "beta=0.25 · round 1 · training",
        "beta=0.5 · round 0 · evaluation",
        "beta=0.5 · round 1 · evaluation",
        "beta=0.5 · round 1 · training",
    ]
    last = sets["beta=0.5/round-1/generate"]
    assert last.rewards == ["combined", "length", "vowels"]
    assert last.previous == "beta=0.25/round-0/generate"
    assert last.weighing == Weighing("beta=0.5/round-1/train", 0.5, 0.6)
    assert sets["beta=0.5/round-0/evaluate-generate"].previous == "beta=0.25/base/evaluate-generate"
    assert sets["beta=0.25/base/evaluate-generate"].previous is None


def test_a_report_replaces_nothing_but_a_report(finished_run: Path, tmp_path: Path) -> None:
    data, page, empty = (tmp_path / name for name in ("questions.jsonl", "page.html", "empty.html"))
    data.write_text('{"prompt": "x"}\n')
    with pytest.raises(MismatchError, match=f"{data} exists and is not a report. Choose another file"):
        write_report(str(finished_run), str(data), ReportOptions())
    assert data.read_text() == '{"prompt": "x"}\n'
    empty.touch()
    for out in (page, page, empty):
        write_report(str(finished_run), str(out), ReportOptions(title="a title " * 600))
    assert page.read_bytes() == empty.read_bytes()


def test_groups_are_shown_as_the_tables_have_them(finished_run: Path) -> None:
    one = sets_of(finished_run)["beta=0.5/round-1/generate"]
    groups = read_groups(OpenSet.open(one), 2, 7)
    folder = finished_run / "beta=0.5" / "round-1"
    frames = {
        name: pl.read_parquet(folder / name / "part-*.parquet").slice(2, 5)
        for name in ("generate", "score-length", "advantages")
    }
    assert [group["at"] for group in groups] == [2, 3, 4, 5, 6]
    assert [group["group_id"] for group in groups] == frames["generate"]["group_id"].to_list()
    samples = [[sample["answer"]["text"] for sample in group["samples"]] for group in groups]
    assert samples == frames["generate"]["completions"].to_list()
    tokens = [[sample["tokens"] for sample in group["samples"]] for group in groups]
    ids = frames["generate"]["completion_token_ids"].to_list()
    assert tokens == [[len(completion) for completion in row] for row in ids]
    for name, frame, column in (("length", "score-length", "rewards"), ("combined", "advantages", "rewards")):
        shown = [[sample["rewards"][name] for sample in group["samples"]] for group in groups]
        assert shown == [pytest.approx(row, rel=1e-5) for row in frames[frame][column].to_list()]
    advantages = [[sample["advantage"] for sample in group["samples"]] for group in groups]
    assert advantages == [pytest.approx(row, rel=1e-5) for row in frames["advantages"]["advantages"].to_list()]


def test_weights_in_j_are_those_of_the_objective(finished_run: Path) -> None:
    """With ℓ a free variable per sequence, dJ/dℓ is the weight: autograd computes it from the trainer's loss, for the
    trainer's own sequences of the same tables."""
    one = sets_of(finished_run)["beta=0.5/round-1/generate"]
    assert one.advantages is not None
    training = TrainingSet(open_table(one.groups.place), open_table(one.advantages.place))
    objective = Grao(0.5, 0.6)
    shown = {group["group_id"]: group for group in read_groups(OpenSet.open(one), 0, 10)}
    for number in range(len(training)):
        group = training[number]
        logprobs = torch.full((len(group.sequences), 1), -1.0, dtype=torch.float64, requires_grad=True)
        one_token = [replace(sequence, token_ids=[1], behavior_logprobs=None) for sequence in group.sequences]
        inputs = objective_inputs(one_token, torch.ones_like(logprobs, dtype=torch.bool), logprobs)
        (gradient,) = torch.autograd.grad(-objective(inputs).loss, logprobs)
        samples = [sample["weight"] for sample in shown[group.group_id]["samples"] if sample["weight"] is not None]
        reference = shown[group.group_id]["reference"]
        weights = [*samples, *([reference["weight"]] if reference and reference["weight"] is not None else [])]
        assert weights == pytest.approx(gradient[:, 0].tolist(), rel=1e-5, abs=1e-7)
    assert len(training) > 5


def test_a_sample_that_is_not_trained_on_has_no_weight_and_does_not_count_in_g() -> None:
    """G = 2: w = ½ · (½ + 0.6) · Â = 0.55 Â with a reference, ¼ Â without; w_y = 0.25 · 0.7 − 0.6 · mean(1, −0.5)."""
    weighing = Weighing("t", 0.25, 0.6, exploration=0.5)
    weights, reference = weighing.weights([1.0, None, -0.5], 0.7)
    assert weights == [pytest.approx(0.55), None, pytest.approx(-0.275)]
    assert reference == pytest.approx(0.025)
    assert weighing.weights([1.0, None, -0.5], None) == ([pytest.approx(0.25), None, pytest.approx(-0.125)], None)


def test_companions_of_other_groups_are_refused(tmp_path: Path) -> None:
    rows = [group_row(f"question {i}", ["a", "b"]) for i in range(3)]
    write_table(tmp_path / "groups", "groups", rows, fingerprint="g" * 32)
    scores = [score_row(row["group_id"], [0.0, 1.0]) for row in reversed(rows)]
    write_table(tmp_path / "scores", "scores", scores, inputs={"groups": "g" * 32}, options={"name": "x"})
    tables = OpenSet.open(sets_of(tmp_path)["groups"])
    with pytest.raises(MismatchError, match="does not hold the groups of"):
        read_groups(tables, 0, 3)
    summary = write_report(str(tmp_path), str(tmp_path / "page.html"), ReportOptions())
    assert summary.groups_shown == 0
    assert "is left out" in summary.notes[0]


def test_distributions_are_counted_over_the_same_values_in_all_sets(tmp_path: Path) -> None:
    """Rewards 0, ⅕, ⅕, 1 | ⅕, ⅕ and one that failed: shares ¼, ½, ¼ | 0, 1, 0; one of the second's groups is flat."""
    rewards_of: dict[str, list[list[float | None]]] = {
        "first": [[0.0, 0.2], [0.2, 1.0]],
        "second": [[0.2, 0.2], [None, None]],
    }
    for name, rewards in rewards_of.items():
        rows = [group_row(f"question {i}", ["a", "b"]) for i in range(2)]
        rows[0]["finish_reasons"] = ["length", "stop"]
        mark = name[0] * 32
        write_table(tmp_path / name / "groups", "groups", rows, fingerprint=mark)
        scores = [score_row(row["group_id"], values, 0.5) for row, values in zip(rows, rewards, strict=True)]
        write_table(tmp_path / name / "scores", "scores", scores, inputs={"groups": mark}, options={"name": "x"})
    numbers = [set_numbers(OpenSet.open(one)) for one in sets_of(tmp_path).values()]
    (histogram,) = histograms(numbers)
    assert histogram["values"] == pytest.approx([0.0, 0.2, 1.0])
    assert histogram["shares"] == {"first/groups": [0.25, 0.5, 0.25], "second/groups": [0.0, 1.0, 0.0]}
    facts = [one.of_reward("x") for one in numbers]
    assert [(row["scored"], row["zero_variance"], row["reference_mean"]) for row in facts] == [(4, 0, 0.5), (2, 1, 0.5)]
    assert facts[1]["statuses"] == {"ok": 2, "error": 2}
    lengths = numbers[0].lengths()
    assert (lengths["length"], lengths["quantiles"], lengths["reference"]) == (0.25, [3, 3, 3], 4)


def test_texts_beyond_the_limit_are_cut_and_counted(tmp_path: Path) -> None:
    write_table(tmp_path / "groups", "groups", [group_row("question", ["x" * 250, "short"])])
    summary = write_report(str(tmp_path), str(tmp_path / "page.html"), ReportOptions(max_characters=100))
    assert summary.texts_cut == 1
    groups = read_groups(OpenSet.open(sets_of(tmp_path)["groups"]), 0, 1, 100)
    assert groups[0]["samples"][0]["answer"] == {"text": "x" * 100, "cut": 150}


@pytest.mark.slow
def test_every_round_shows_the_same_prompts(finished_run: Path, tmp_path: Path) -> None:
    summary = write_report(str(finished_run), str(tmp_path / "page.html"), ReportOptions(groups=24))
    assert (summary.groups, summary.groups_shown) == (80, 24)


def test_scores_of_other_software_need_a_reward_for_every_sample(tmp_path: Path) -> None:
    groups = write_table(tmp_path / "groups", "groups", [group_row(f"q{i}", ["a", "b"]) for i in range(3)])
    ids = open_table(groups).arrow()["group_id"].to_pylist()
    (tmp_path / "scores").mkdir()
    scores = pl.DataFrame({"group_id": ids, "rewards": [[1.0, 0.0], [0.5, 0.5], [1.0]]})
    scores.with_columns(statuses=pl.col("rewards").list.eval(pl.lit("ok"))).write_parquet(tmp_path / "scores/a.parquet")
    [tables] = Catalog(groups, ViewOptions(scores=[str(tmp_path / "scores")])).sets()
    assert len(read_groups(tables, 0, 2)) == 2
    with pytest.raises(MismatchError, match=f"hold 1 rewards for group {ids[2]}, which has 2 samples"):
        read_groups(tables, 2, 3)


def test_a_folder_without_groups_is_refused_unless_rounds_have_begun_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no groups to show, and no rounds that will sample some"):
        Catalog(str(tmp_path), ViewOptions())
    (tmp_path / "lock").touch()
    assert Catalog(str(tmp_path), ViewOptions()).sets() == []
