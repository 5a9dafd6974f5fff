"""`compute_advantages` on tables: parts, companions from elsewhere, resume, refusals, counts, and no torch."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.advantages.recipe import Masked
from grao_pipeline.advantages.summary import RewardCounts
from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.options import parse_options
from grao_pipeline.storage.manifest_file import MANIFEST
from grao_pipeline.storage.reader import open_table
from tests import tiny

ROOT = Path(__file__).parents[2]
Score = tuple[list[float | None], float | None]

# Rewards of the samples and of the reference, by group; the fifth group has no reference.
SCORED: list[Score] = [
    ([1.0, 3.0], 2.0),  # μ = 2, σ = √(2/3)
    ([0.5, 0.5], 0.5),  # zero variance
    ([-1.0, -1.0], 0.0),  # loses throughout
    ([None, 1.0], 0.0),  # μ = 1/2, σ = 1/2
    ([1.0, 2.0], None),
    ([None, None], None),  # nothing was scored
]
GROUPS = [tiny.group_row(f"q{i}", ["a", "b"], None if i == 4 else "y") for i in range(len(SCORED))]
R = math.sqrt(1.5)
S = math.sqrt(0.5)
EXPECTED: list[tuple[list[float | None], float | None]] = [
    ([-R, R], 0.0),
    ([None, None], None),
    ([-S, -S], math.sqrt(2)),
    ([None, 1.0], -1.0),
    ([-1.0, 1.0], None),
    ([None, None], None),
]


def score_rows(scored: list[Score], factor: float = 1.0) -> list[dict[str, Any]]:
    return [
        {
            "group_id": group["group_id"],
            "rewards": [None if reward is None else factor * reward for reward in rewards],
            "reference_reward": None if reference is None else factor * reference,
            "statuses": ["error" if reward is None else "ok" for reward in rewards],
        }
        for group, (rewards, reference) in zip(GROUPS, scored, strict=True)
    ]


def scores_table(path: Path, scored: list[Score] = SCORED, rows_per_part: int = 4, **provenance: Any) -> str:
    """Scores of `GROUPS` in parts of four and two."""
    provenance = {"inputs": {"groups": "a" * 32}, "options": {"name": path.name}, **provenance}
    return tiny.write_table(path, "scores", score_rows(scored), rows_per_part, **provenance)


@pytest.fixture
def groups(tmp_path: Path) -> str:
    return tiny.write_table(tmp_path / "groups", "groups", GROUPS, fingerprint="a" * 32)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def advantages(path: Path) -> list[tuple[list[float | None], float | None]]:
    rows = open_table(str(path), "advantages").arrow().to_pylist()
    assert [row["group_id"] for row in rows] == [group["group_id"] for group in GROUPS]
    return [(row["advantages"], row["reference_advantage"]) for row in rows]


def expected() -> list[Any]:
    def near(value: float | None) -> Any:
        return None if value is None else pytest.approx(value, rel=1e-6)

    return [([near(value) for value in samples], near(reference)) for samples, reference in EXPECTED]


def compute(groups: str, out: Path, *scores: str, **options: Any) -> Any:
    return compute_advantages(groups, str(out), AdvantagesOptions.model_validate({"scores": scores, **options}))


def test_a_small_table_worked_by_hand(groups: str, tmp_path: Path) -> None:
    summary = compute(groups, tmp_path / "out", scores_table(tmp_path / "r"))
    assert advantages(tmp_path / "out") == expected()
    table = open_table(str(tmp_path / "out"), "advantages")
    assert [part.num_rows for part in table.parts()] == [4, 2]
    assert table.arrow().column("rewards").to_pylist() == [rewards for rewards, _ in SCORED]
    assert vars(summary) == {
        "groups": 6,
        "parts_made": 2,
        "parts_found": 0,
        "samples": 12,
        "rewards": [RewardCounts("r", 1.0, scored=9, unscored=3)],
        "unscored_samples": 3,
        "zero_variance_groups": 1,
        "groups_without_reference": 1,
        "unscored_references": 1,
        "trained_groups": 4,
        "trained_samples": 7,
        "trained_references": 3,
        "mean_reward": pytest.approx((1 + 3 + 0.5 + 0.5 - 1 - 1 + 1 + 1 + 2) / 9),
        "mean_reference_reward": pytest.approx((2 + 0.5 + 0 + 0) / 4),
        "masked": {"zero-variance": Masked(samples=2, groups=1)},
        "fingerprint": table.fingerprint,
        "notes": summary.notes,
    }
    assert [note[:34] for note in summary.notes] == [
        "3 of 12 samples (25%) have no rewa",
        "1 of 5 references (20%) have no re",
        "The references score worse than th",
    ]
    rows = table.arrow()
    assert rows.column("reference_reward").to_pylist() == [2.0, 0.5, 0.0, 0.0, None, None]
    assert rows.column("masked_by").to_pylist() == [
        [None, None],
        ["zero-variance"] * 2,
        [None, None],
        ["unscored", None],
        [None, None],
        ["unscored"] * 2,
    ]


def test_the_first_filter_that_masks_a_sample_is_named(groups: str, tmp_path: Path) -> None:
    """Unscored samples mask their groups; then of two rewards 1 and 3 the one that is not the best."""
    compute(groups, tmp_path / "out", scores_table(tmp_path / "r"), unscored="group", top_k=1)
    assert open_table(str(tmp_path / "out"), "advantages").arrow().column("masked_by").to_pylist() == [
        ["top-and-bottom", None],
        ["zero-variance"] * 2,
        [None, "top-and-bottom"],
        ["unscored"] * 2,
        ["top-and-bottom", None],
        ["unscored"] * 2,
    ]


def test_two_tasks_with_a_reward_each_are_trained_on(groups: str, tmp_path: Path) -> None:
    """The first three groups have reward r, the others s. The advantages are those of either reward alone."""
    rows: dict[str, list[dict[str, Any]]] = {"r": score_rows(SCORED), "s": score_rows(SCORED)}
    for name, applies_to in (("r", range(3)), ("s", range(3, 6))):
        for index, row in enumerate(rows[name]):
            if index not in applies_to:
                row |= {"rewards": [None] * 2, "reference_reward": None, "statuses": ["not_applicable"] * 2}
    inputs = {"groups": "a" * 32}
    urls = [
        tiny.write_table(tmp_path / name, "scores", of_name, 4, inputs=inputs, options={"name": name})
        for name, of_name in rows.items()
    ]
    summary = compute(groups, tmp_path / "out", *urls)
    assert advantages(tmp_path / "out") == expected()
    assert summary.rewards == [
        RewardCounts("r", 1.0, scored=6, not_applicable=6),
        RewardCounts("s", 1.0, scored=3, not_applicable=6, unscored=3),
    ]


@pytest.mark.parametrize("status", ["error", "not_applicable"])
def test_a_table_without_any_combined_reward_is_refused(groups: str, tmp_path: Path, status: str) -> None:
    """Two rewards, either of which failed on what the other scored; nothing is written."""
    halves: list[list[Score]] = (
        [[([1.0, None], 1.0)] * 6, [([None, 1.0], None)] * 6] if status == "error" else [[([None] * 2, None)] * 6]
    )
    urls = []
    for number, scored in enumerate(halves):
        table = [
            {**row, "statuses": ["ok" if reward is not None else status for reward in row["rewards"]]}
            for row in score_rows(scored)
        ]
        options = {"name": f"r{number}"}
        urls.append(
            tiny.write_table(tmp_path / f"r{number}", "scores", table, 4, inputs={"groups": "a" * 32}, options=options)
        )
    with pytest.raises(InputError, match="None of the 12 samples has a combined reward") as error:
        compute(groups, tmp_path / "out", *urls)
    assert ("--missing skip" in str(error.value)) == (status == "error")
    assert not list(tmp_path.glob("out/*"))


def test_kept_zero_variance_groups_are_trained_with_zeros(groups: str, tmp_path: Path) -> None:
    summary = compute(groups, tmp_path / "out", scores_table(tmp_path / "r"), keep_zero_variance=True)
    assert advantages(tmp_path / "out")[1] == ([0.0, 0.0], 0.0)
    assert (summary.zero_variance_groups, summary.trained_groups, summary.trained_samples) == (1, 5, 9)
    assert summary.groups_without_reference == 1


def test_the_table_records_its_inputs_and_options(groups: str, tmp_path: Path) -> None:
    r, s = scores_table(tmp_path / "r", fingerprint="c" * 32), scores_table(tmp_path / "s", fingerprint="d" * 32)
    compute(groups, tmp_path / "out", f"{r}=0.5", s, statistics="samples")
    provenance = open_table(str(tmp_path / "out"), "advantages").provenance
    assert provenance.inputs == {"groups": "a" * 32, "scores": [["r", "c" * 32, 0.5], ["s", "d" * 32, 1.0]]}
    assert provenance.options == AdvantagesOptions(statistics="samples").content()


def test_several_rewards_are_one_weighted_sum(groups: str, tmp_path: Path) -> None:
    """0.75 · r + 0.5 · (r / 2) = r."""
    r = scores_table(tmp_path / "r")
    half = [([x and x / 2 for x in rewards], reference and reference / 2) for rewards, reference in SCORED]
    compute(groups, tmp_path / "out", f"{r}=0.75", f"{scores_table(tmp_path / 'half', half)}=0.5")
    assert advantages(tmp_path / "out") == expected()
    rewards = open_table(str(tmp_path / "out")).arrow().column("rewards").to_pylist()
    assert rewards == [rewards for rewards, _ in SCORED]


@pytest.mark.parametrize("writer", ["pandas", "polars", "two files"])
def test_foreign_scores_in_any_order_give_the_same_advantages(groups: str, tmp_path: Path, writer: str) -> None:
    rows = [score_rows(SCORED)[i] for i in (5, 2, 0, 4, 1, 3)]
    (tmp_path / "theirs").mkdir()
    url = str(tmp_path / "theirs" / "scores.parquet")
    if writer == "pandas":
        pd.DataFrame(rows).to_parquet(url)
    elif writer == "polars":
        pl.DataFrame(rows).write_parquet(url)
    else:
        pl.DataFrame(rows[:5]).write_parquet(tmp_path / "theirs" / "b.parquet")
        pl.DataFrame(rows[5:]).write_parquet(tmp_path / "theirs" / "a.parquet")
        url = str(tmp_path / "theirs")
    compute(groups, tmp_path / "out", url)
    assert advantages(tmp_path / "out") == expected()


def test_foreign_groups_need_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "groups").mkdir()
    pl.DataFrame(GROUPS[:1]).write_parquet(tmp_path / "groups" / "a.parquet")
    pl.DataFrame(GROUPS[1:], infer_schema_length=None).write_parquet(tmp_path / "groups" / "b.parquet")
    groups = open_table(str(tmp_path / "groups"), "groups")
    pl.DataFrame(score_rows(SCORED)).write_parquet(tmp_path / "scores.parquet")
    summary = compute(groups.url, tmp_path / "out", str(tmp_path / "scores.parquet"))
    assert (summary.groups, summary.parts_made) == (6, 2)
    assert advantages(tmp_path / "out") == expected()


def test_a_part_without_rows_is_a_part(tmp_path: Path) -> None:
    (tmp_path / "groups").mkdir()
    frame = pl.DataFrame(GROUPS, infer_schema_length=None)
    frame.clear().write_parquet(tmp_path / "groups" / "a.parquet")
    frame.write_parquet(tmp_path / "groups" / "b.parquet")
    pl.DataFrame(score_rows(SCORED)).write_parquet(tmp_path / "scores.parquet")
    summary = compute(str(tmp_path / "groups"), tmp_path / "out", str(tmp_path / "scores.parquet"))
    assert (summary.groups, summary.samples, summary.trained_groups) == (6, 12, 4)
    assert advantages(tmp_path / "out") == expected()


def test_foreign_scores_with_too_few_rewards_for_a_group_are_refused(groups: str, tmp_path: Path) -> None:
    rows = score_rows(SCORED)
    rows[4] |= {"rewards": [1.0], "statuses": ["ok"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "scores.parquet")
    with pytest.raises(MismatchError, match=f"1 rewards for group {rows[4]['group_id']}, which has 2 samples"):
        compute(groups, tmp_path / "out", str(tmp_path / "scores.parquet"))


def test_scores_of_other_groups_are_refused_with_both_fingerprints(groups: str, tmp_path: Path) -> None:
    scores = scores_table(tmp_path / "r", inputs={"groups": "b" * 32})
    with pytest.raises(MismatchError) as caught:
        compute(groups, tmp_path / "out", scores)
    assert "a" * 32 in str(caught.value)
    assert "b" * 32 in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_resumed_table_has_the_same_bytes(groups: str, tmp_path: Path) -> None:
    scores = scores_table(tmp_path / "r")
    whole = compute(groups, tmp_path / "out", scores)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / MANIFEST).unlink()
    (tmp_path / "out" / "part-000001.parquet").unlink()
    resumed = compute(groups, tmp_path / "out", scores)
    assert (resumed.parts_found, resumed.parts_made) == (1, 1)
    assert {**vars(resumed), "parts_found": 0, "parts_made": 2} == vars(whole)  # counts are of the whole table
    assert contents(tmp_path / "out") == before
    cached = compute(groups, tmp_path / "out", scores)
    assert (cached.parts_found, cached.parts_made, cached.trained_groups) == (2, 0, 4)


@pytest.mark.slow
def test_parts_do_not_change_an_advantage(tmp_path: Path) -> None:
    for rows_per_part in (1, 4, 6):
        path = tmp_path / str(rows_per_part)
        groups = tiny.write_table(path / "groups", "groups", GROUPS, rows_per_part, fingerprint="a" * 32)
        compute(groups, path / "out", scores_table(path / "r", rows_per_part=rows_per_part))
        assert advantages(path / "out") == expected()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"statistics": "samples"}, "statistics was 'samples_and_reference' and is now 'samples'"),
        ({"reference_floor": 0.0}, "reference_floor was None and is now 0.0"),
        ({"keep_zero_variance": True}, "keep_zero_variance was False and is now True"),
    ],
)
def test_a_changed_option_is_refused_in_the_same_directory(
    groups: str, tmp_path: Path, options: dict[str, Any], difference: str
) -> None:
    scores = scores_table(tmp_path / "r")
    compute(groups, tmp_path / "out", scores)
    before = contents(tmp_path / "out")
    with pytest.raises(MismatchError, match=difference):
        compute(groups, tmp_path / "out", scores, **options)
    assert contents(tmp_path / "out") == before


def test_a_changed_weight_or_reward_is_refused_in_the_same_directory(groups: str, tmp_path: Path) -> None:
    scores = scores_table(tmp_path / "r")
    compute(groups, tmp_path / "out", scores)
    other = scores_table(tmp_path / "other", [([x and 2 * x for x in r], y) for r, y in SCORED])
    for changed in ([f"{scores}=2"], [other], [scores, other]):
        with pytest.raises(MismatchError, match="input scores was"):
            compute(groups, tmp_path / "out", *changed)


def test_scores_are_required_and_have_different_names(groups: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scores: give at least one scores table"):
        compute(groups, tmp_path / "out")
    scores = scores_table(tmp_path / "r")
    with pytest.raises(UsageError, match=r"a second table with the reward name 'r'\. .* --name NAME"):
        compute(groups, tmp_path / "out", scores, f"{scores}=0.5")
    with pytest.raises(UsageError, match=r"estimator: unknown estimator 'grop'\. Did you mean grpo\?"):
        compute(groups, tmp_path / "out", scores, estimator="grop")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("runs/scores", WeightedScores(url="runs/scores")),
        ("runs/scores=0.5", WeightedScores(url="runs/scores", weight=0.5)),
        ("runs/scores=-2", WeightedScores(url="runs/scores", weight=-2.0)),
        ("s3://bucket/reward=gsm8k=1e-3", WeightedScores(url="s3://bucket/reward=gsm8k", weight=1e-3)),
    ],
)
def test_a_weight_follows_the_last_equals_sign(text: str, parsed: WeightedScores) -> None:
    assert WeightedScores.model_validate(text) == parsed


@pytest.mark.parametrize("text", ["runs/scores=", "runs/scores=much", "runs/scores=nan", "runs/scores=inf"])
def test_a_weight_that_is_not_a_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--scores: the weight '.*' is not a number; .* found '{text}'"):
        parse_options(AdvantagesOptions, {"scores": [text]})


def test_a_users_estimator_is_imported_from_the_current_directory(
    groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_estimators.py").write_text(
        "import polars as pl\n\ndef raw(view, *, statistics):\n    return pl.col('reward').cast(pl.Float64) * 2\n"
    )
    compute(groups, tmp_path / "out", scores_table(tmp_path / "r"), estimator="my_estimators:raw")
    assert advantages(tmp_path / "out")[0] == ([2.0, 6.0], 4.0)


@pytest.mark.slow
def test_the_command_runs_without_torch_transformers_or_pandas(groups: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["advantages", groups, str(out), "--scores", scores_table(tmp_path / "r"), "--json"]
    program = (
        "import sys\nfrom grao_pipeline.cli.main import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'vllm', 'datasets', 'pandas._libs'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    summary, loaded = done.stdout.splitlines()
    assert json.loads(summary)["trained_groups"] == 4
    assert loaded == "[]"
    assert advantages(out) == expected()
