"""`evaluate` on tables: the numbers, the tables that may be compared, and when an evaluation is reused."""

import json
import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from grao_pipeline.errors import DamagedPart, InputError, MismatchError, UsageError
from grao_pipeline.evaluation.evaluate import evaluate
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.record import METRICS, EvaluateSummary, read_evaluation
from grao_pipeline.progress import RecordedProgress
from tests import tiny

Judged = dict[str, tuple[list[float | None], float | None]]
"""By prompt: the samples' rewards and the reference's."""

# RAS: 1/2, 0, 1 and, without a scored reference, none.
TUNED: Judged = {
    "one": ([1.0, 0.0], 0.5),
    "two": ([0.0, None], 0.0),
    "three": ([3.0, 2.0], 1.0),
    "four": ([5.0, 5.0], None),
}
# Of the pairs of "two": one tie, one loss. "three": all four are won. "four": nothing scored. "five" is not in TUNED.
BASE: Judged = {
    "two": ([0.0, 1.0], 0.0),
    "three": ([1.0, 1.0], 1.0),
    "four": ([None, None], None),
    "five": ([1.0, 1.0], 0.0),
}


def tables(
    path: Path,
    judged: Judged,
    rows_per_part: int = 3,
    policy: str = "p" * 32,
    metadata: dict[str, dict[str, Any]] | None = None,
    **options: Any,
) -> tuple[str, str]:
    """A groups table and its scores, in parts of three: two samples a prompt of 3 and 5 tokens, the second cut off."""
    groups = []
    for prompt in judged:
        group = tiny.group_row(prompt, ["a", "b"], "y", policy, token_ids=[[5, 6, 2], [5, 6, 7, 8, 9]])
        group["finish_reasons"] = ["stop", "length"]
        group["metadata"] = json.dumps((metadata or {}).get(prompt, {}))
        groups.append(group)
    scores = [
        {"group_id": group["group_id"], "rewards": rewards, "reference_reward": reference, "statuses": ["ok", "ok"]}
        for group, (rewards, reference) in zip(groups, judged.values(), strict=True)
    ]
    fingerprint = f"{path.name:g>32}"
    groups_url = tiny.write_table(path / "groups", "groups", groups, rows_per_part, fingerprint=fingerprint)
    inputs = {"groups": fingerprint}
    options = {"reward": "length", **options}
    return groups_url, tiny.write_table(
        path / "scores", "scores", scores, rows_per_part, inputs=inputs, options=options
    )


@pytest.fixture
def tuned(tmp_path: Path) -> tuple[str, str]:
    return tables(tmp_path / "tuned", TUNED)


@pytest.fixture
def base(tmp_path: Path) -> tuple[str, str]:
    return tables(tmp_path / "base", BASE, policy="b" * 32)


def against(base: tuple[str, str], **options: Any) -> EvaluateOptions:
    return EvaluateOptions(base_groups=base[0], base_scores=base[1], **options)


def value_and_n(summary: EvaluateSummary, name: str) -> tuple[float, int]:
    metric = summary.metrics[name]
    assert metric is not None
    assert metric["low"] <= metric["value"] <= metric["high"]
    return metric["value"], metric["n"]


def test_a_model_is_compared_with_the_references(tuned: tuple[str, str], tmp_path: Path) -> None:
    summary = evaluate(*tuned, str(tmp_path / "out"), EvaluateOptions())
    assert (summary.prompts, summary.unpaired_prompts, summary.confidence) == (4, 0, 0.95)
    assert {name: value_and_n(summary, name) for name in summary.metrics} == {
        "ras": (0.5, 3),  # (1/2 + 0 + 1) / 3
        "mean_reward": (2.0, 4),  # (0.5 + 0 + 2.5 + 5) / 4
        "reference_reward": (0.5, 3),  # (0.5 + 0 + 1) / 3
        "tokens_per_sample": (4.0, 4),
        "truncated_share": (0.5, 4),
    }


def test_a_model_is_compared_with_its_base_on_shared_prompts(
    tuned: tuple[str, str], base: tuple[str, str], tmp_path: Path
) -> None:
    summary = evaluate(*tuned, str(tmp_path / "out"), against(base))
    assert (summary.prompts, summary.unpaired_prompts) == (4, 2)  # "one" and "five"
    assert value_and_n(summary, "nag_win_rate") == (0.5, 2)  # (0 + 1) / 2; "four" has no pair
    assert value_and_n(summary, "nag_net") == (0.25, 2)  # (−1/2 + 1) / 2
    assert value_and_n(summary, "base_mean_reward") == (0.75, 2)  # (0.5 + 1) / 2
    assert value_and_n(summary, "base_ras") == (0.25, 2)  # (1/2 + 0) / 2
    assert value_and_n(summary, "ras") == (0.5, 3)


def test_a_model_against_itself_neither_wins_nor_loses(tuned: tuple[str, str], tmp_path: Path) -> None:
    summary = evaluate(*tuned, str(tmp_path / "out"), against(tuned))
    assert value_and_n(summary, "nag_net") == (0.0, 4)
    assert summary.metrics["base_ras"] == summary.metrics["ras"]


def test_a_metric_that_cannot_be_computed_is_none(tmp_path: Path) -> None:
    urls = tables(tmp_path / "bare", {"one": ([None, None], None), "two": ([None, None], 1.0)})
    summary = evaluate(*urls, str(tmp_path / "out"), against(urls))
    nothing = {"ras", "mean_reward", "nag_win_rate", "nag_net", "nag_ties", "base_mean_reward", "base_ras"}
    assert {name for name, metric in summary.metrics.items() if metric is None} == nothing
    assert value_and_n(summary, "reference_reward") == (1.0, 1)
    lines = tiny.grao("evaluate", *urls, tmp_path / "printed").stdout.splitlines()
    for name in ("mean reward", "ras"):
        [line] = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith("–  (no prompt has what it is computed from)")


def test_parts_do_not_matter(tuned: tuple[str, str], tmp_path: Path) -> None:
    one_part = tables(tmp_path / "whole", TUNED, rows_per_part=99)
    summaries = [
        evaluate(*urls, str(tmp_path / f"out-{i}"), EvaluateOptions()) for i, urls in enumerate((tuned, one_part))
    ]
    assert summaries[0].metrics == summaries[1].metrics


def test_the_command_writes_and_prints_the_same_numbers(
    tuned: tuple[str, str], base: tuple[str, str], tmp_path: Path
) -> None:
    arguments = ["evaluate", *tuned, tmp_path / "out", "--base-groups", base[0], "--base-scores", base[1]]
    printed = tiny.grao_json(*arguments)
    written = json.loads((tmp_path / "out" / METRICS).read_text())
    assert written["summary"] == printed
    assert (written["table"], written["fingerprint"]) == ("evaluation", printed["fingerprint"])
    assert written["inputs"]["base_groups"] == f"{'base':g>32}"
    assert written["options"] == EvaluateOptions().content()
    text = tiny.grao(*arguments).stdout
    assert "nag net" in text
    assert "95% interval" in text
    assert "n = 2" in text


def test_the_same_evaluation_is_not_repeated(tuned: tuple[str, str], tmp_path: Path) -> None:
    out, notices = str(tmp_path / "out"), list[str]()
    first = evaluate(*tuned, out, EvaluateOptions(), RecordedProgress(notices.append))
    before = (tmp_path / "out" / METRICS).stat().st_mtime_ns
    assert evaluate(*tuned, out, EvaluateOptions(), RecordedProgress(notices.append)) == first == read_evaluation(out)
    assert notices == [f"{out} already holds this evaluation."]
    assert (tmp_path / "out" / METRICS).stat().st_mtime_ns == before


def test_the_seed_moves_the_interval_alone(tuned: tuple[str, str], tmp_path: Path) -> None:
    options = [EvaluateOptions(bootstrap_samples=100, seed=seed) for seed in (0, 0, 1)]
    metrics = [
        evaluate(*tuned, str(tmp_path / str(i)), option).metrics["mean_reward"] for i, option in enumerate(options)
    ]
    assert metrics[0] is not None
    assert metrics[2] is not None
    assert metrics[0] == metrics[1] != metrics[2]
    assert metrics[0]["value"] == metrics[2]["value"]


def test_a_changed_option_or_input_is_refused_in_the_same_directory(
    tuned: tuple[str, str], base: tuple[str, str], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    first = evaluate(*tuned, out, EvaluateOptions())
    before = (tmp_path / "out" / METRICS).read_bytes()
    for pair, options in [(tuned, EvaluateOptions(confidence=0.9)), (tuned, against(base)), (base, EvaluateOptions())]:
        with pytest.raises(MismatchError, match=f"holds the evaluation {first.fingerprint}; this command would write"):
            evaluate(*pair, out, options)
    assert (tmp_path / "out" / METRICS).read_bytes() == before


def test_an_evaluation_is_not_written_into_another_output(tuned: tuple[str, str], model: Path, tmp_path: Path) -> None:
    for place, what in ((tuned[0], r"a table \(\.manifest\.parquet\)"), (str(model), r"a model \(config\.json\)")):
        before = sorted(Path(place).iterdir())
        with pytest.raises(MismatchError, match=f"{place} holds {what}. Choose another directory for the evaluation"):
            evaluate(*tuned, place, EvaluateOptions())
        assert sorted(Path(place).iterdir()) == before


def test_different_rewards_are_not_compared(tuned: tuple[str, str], tmp_path: Path) -> None:
    other = tables(tmp_path / "base", BASE, policy="b" * 32, reward="gsm8k")
    with pytest.raises(MismatchError, match="were scored by different rewards, so that NAG cannot compare them"):
        evaluate(*tuned, str(tmp_path / "out"), against(other))


def test_evaluations_without_a_shared_prompt_are_refused(tuned: tuple[str, str], tmp_path: Path) -> None:
    other = tables(tmp_path / "base", {"elsewhere": ([1.0, 1.0], 0.0)})
    with pytest.raises(MismatchError, match="share no prompt"):
        evaluate(*tuned, str(tmp_path / "out"), against(other))
    assert not (tmp_path / "out").exists()


def test_scores_of_other_groups_are_refused(tuned: tuple[str, str], base: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=f"scores of groups {'base':g>32}.* is {'tuned':g>32}"):
        evaluate(tuned[0], base[1], str(tmp_path / "out"), EvaluateOptions())
    with pytest.raises(MismatchError, match=f"scores of groups {'tuned':g>32}"):
        evaluate(*tuned, str(tmp_path / "out"), against((base[0], tuned[1])))


def test_two_groups_of_one_prompt_are_refused(tmp_path: Path) -> None:
    groups = [tiny.group_row("one", ["a"]), tiny.group_row("one", ["b"], token_ids=[[9, 2]])]
    scores = [
        {"group_id": group["group_id"], "rewards": [1.0], "reference_reward": 0.0, "statuses": ["ok"]}
        for group in groups
    ]
    urls = [str(tmp_path / "groups.parquet"), str(tmp_path / "scores.parquet")]
    for rows, url in zip((groups, scores), urls, strict=True):
        pl.DataFrame(rows).write_parquet(url)
    with pytest.raises(InputError, match=f"two groups of prompt {groups[0]['prompt_id']}"):
        evaluate(urls[0], urls[1], str(tmp_path / "out"), EvaluateOptions())


def test_foreign_scores_with_too_many_rewards_for_a_group_are_refused(tuned: tuple[str, str], tmp_path: Path) -> None:
    rows = pl.read_parquet(f"{tuned[1]}/*.parquet").to_dicts()
    rows[1] |= {"rewards": [1.0, 2.0, 3.0], "statuses": ["ok"] * 3}
    pl.DataFrame(rows).write_parquet(tmp_path / "scores.parquet")
    with pytest.raises(MismatchError, match=r"3 rewards for group .*, which has 2 samples"):
        evaluate(tuned[0], str(tmp_path / "scores.parquet"), str(tmp_path / "out"), EvaluateOptions())


def test_base_groups_and_base_scores_go_together() -> None:
    from grao_pipeline.options import parse_options

    with pytest.raises(UsageError, match="--base-groups and --base-scores go together: give both or neither"):
        parse_options(EvaluateOptions, {"base_groups": "x"})


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 5000, '{"sha256": "0"}'])
def test_a_damaged_evaluation_is_named_and_replaced(tuned: tuple[str, str], tmp_path: Path, text: str) -> None:
    (tmp_path / METRICS).write_text(text)
    with pytest.raises(DamagedPart, match=r"metrics\.json is damaged .* Evaluate again"):
        read_evaluation(str(tmp_path))
    progress = RecordedProgress()
    summary = evaluate(*tuned, str(tmp_path), EvaluateOptions(bootstrap_samples=100), progress)
    assert "metrics.json is damaged" in progress.warnings[0]
    assert read_evaluation(str(tmp_path)) == summary


def test_the_metrics_of_another_program_are_refused(tuned: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"loss": 0.5}')
    with pytest.raises(MismatchError, match=r"metrics\.json was not written by this program"):
        evaluate(*tuned, str(tmp_path), EvaluateOptions())
    assert (tmp_path / METRICS).read_text() == '{"loss": 0.5}'


def test_a_changed_digit_of_a_metric_is_damage(tuned: tuple[str, str], tmp_path: Path) -> None:
    evaluate(*tuned, str(tmp_path), EvaluateOptions(bootstrap_samples=100))
    text = (tmp_path / METRICS).read_text()
    (tmp_path / METRICS).write_text(text.replace('"n": ', '"n": 1', 1))
    with pytest.raises(DamagedPart, match="its content is not what was written"):
        read_evaluation(str(tmp_path))


def test_numbers_are_finite_json(tuned: tuple[str, str], tmp_path: Path) -> None:
    evaluate(*tuned, str(tmp_path), EvaluateOptions())
    metrics = json.loads((tmp_path / METRICS).read_text())["summary"]["metrics"]
    assert all(math.isfinite(number) for metric in metrics.values() for number in metric.values())


KINDS: dict[str, dict[str, Any]] = {"one": {"kind": "a", "level": 1}, "two": {"kind": "b"}, "three": {"kind": "a"}}


def test_pass_at_k_and_the_success_rate_are_means_over_prompts(tmp_path: Path, tuned: tuple[str, str]) -> None:
    """Successes (reward ≥ 1): one 1 of 2, two 0 of 1, three 2 of 2, four 2 of 2."""
    options = EvaluateOptions(pass_at=[2, 1])
    summary = evaluate(*tuned, str(tmp_path / "out"), options)
    values = {name: metric and (metric["value"], metric["n"]) for name, metric in summary.metrics.items()}
    assert values["success_rate"] == (pytest.approx(2.5 / 4), 4)
    assert values["pass@1"] == (pytest.approx(2.5 / 4), 4)
    assert values["pass@2"] == (1.0, 3)
    (note,) = (note for note in summary.notes if "pass@" in note)
    assert note.startswith("pass@2 leaves out 1 of 4 prompts (25%) with under 2 scored samples.")
    stricter = evaluate(*tuned, str(tmp_path / "stricter"), EvaluateOptions(pass_at=[1], success=3.0))
    strict = stricter.metrics["pass@1"]
    assert strict is not None
    assert strict["value"] == pytest.approx((0 + 0 + 0.5 + 1) / 4)


def test_a_breakdown_is_the_evaluation_of_a_part_of_the_prompts(tmp_path: Path) -> None:
    """Every part has the numbers, intervals included, of an evaluation of its prompts alone; NAG, too."""
    whole, base = tables(tmp_path / "whole", TUNED, metadata=KINDS), tables(tmp_path / "base", BASE)
    part = tables(tmp_path / "part", {name: TUNED[name] for name in ("one", "three")}, metadata=KINDS)
    options = EvaluateOptions(base_groups=base[0], base_scores=base[1], by=["kind", "level"])
    summary = evaluate(*whole, str(tmp_path / "out"), options)
    alone = evaluate(*part, str(tmp_path / "alone"), options.model_copy(update={"by": []}))
    assert list(summary.by["kind"]) == ["(none)", "a", "b"]
    assert summary.by["kind"]["a"] == alone.metrics
    assert list(summary.by["level"]) == ["(none)", "1"]
    read = read_evaluation(str(tmp_path / "out"))
    assert read is not None
    assert read.by == summary.by
    (row,) = (row for row in summary.for_people()["by kind"] if row["value"] == "a")  # type: ignore[attr-defined]
    assert row["n"] == 2
    assert row["mean_reward"].startswith("1.500 [")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "no prompt has the metadata field 'kind'."),
        (101, "the metadata field 'kind' has 101 values; at most 100 can be told apart."),
    ],
)
def test_a_field_that_cannot_break_prompts_down_is_refused(tmp_path: Path, count: int, message: str) -> None:
    judged: Judged = {f"prompt {number}": ([1.0, 0.0], 0.5) for number in range(101)}
    metadata = {f"prompt {number}": {"kind": number} for number in range(count)}
    place = tables(tmp_path, judged, metadata=metadata)
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        evaluate(*place, str(tmp_path / "out"), EvaluateOptions(by=["kind"]))
    assert raised.value.option == "by"


def test_a_threshold_of_success_without_pass_at_k_is_refused() -> None:
    with pytest.raises(ValidationError, match="success needs pass_at"):
        EvaluateOptions(success=0.5)


MIXED: Judged = {**TUNED, "code": ([None, None], None)}


def with_status(place: tuple[str, str], path: Path, prompt: str, status: str) -> tuple[str, str]:
    """The tables with another status for all samples of a prompt, as a foreign scores table."""
    rows = pl.read_parquet(f"{place[1]}/*.parquet").to_dicts()
    rows[list(MIXED).index(prompt)]["statuses"] = [status, status]
    pl.DataFrame(rows).write_parquet(path)
    return place[0], str(path)


@pytest.mark.slow
def test_prompts_of_other_tasks_are_left_out_of_every_number(tmp_path: Path, tuned: tuple[str, str]) -> None:
    """One scores table of mixed tasks, and a reward that is meant for a part: the numbers are those of that part."""
    mixed = with_status(tables(tmp_path / "mixed", MIXED), tmp_path / "s.parquet", "code", "not_applicable")
    options = EvaluateOptions(pass_at=[1])
    summary = evaluate(*mixed, str(tmp_path / "out"), options)
    alone = evaluate(*tuned, str(tmp_path / "alone"), options)
    assert (summary.prompts, summary.prompts_not_applicable) == (4, 1)
    assert (summary.metrics, summary.notes) == (alone.metrics, alone.notes)
    assert summary.for_people()["prompts_not_applicable"] == 1
    assert read_evaluation(str(tmp_path / "out")) == summary
    failed = with_status(tables(tmp_path / "failed", MIXED), tmp_path / "f.parquet", "code", "error")
    assert evaluate(*failed, str(tmp_path / "other"), options).prompts == 5


def test_scores_of_another_task_altogether_are_refused(tmp_path: Path) -> None:
    place = tables(tmp_path / "code", {"code": ([None, None], None)})
    rows = pl.read_parquet(f"{place[1]}/*.parquet").with_columns(statuses=pl.Series([["not_applicable"] * 2]))
    rows.write_parquet(tmp_path / "s.parquet")
    with pytest.raises(InputError, match="no reward for any of the 1 prompts: the reward is meant for none"):
        evaluate(place[0], str(tmp_path / "s.parquet"), str(tmp_path / "out"), EvaluateOptions())
