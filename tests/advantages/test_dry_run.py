"""`--dry-run`: the numbers of the table that would be written, and nothing written."""

from pathlib import Path

import numpy as np
import pytest

from grao_pipeline.advantages.dry_run import distribution, histogram
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.advantages.common import Group, write

GROUPS = [
    Group([0.0, 2.0, 4.0], 1.0),
    Group([1.0, 1.0], 1.0),
    Group([None, 3.0], 0.0, finish_reasons=["stop", "length"]),
]


def test_a_dry_run_reports_the_same_numbers_and_writes_nothing(tmp_path: Path) -> None:
    url, scores = write(tmp_path, GROUPS)
    arguments = ["advantages", url, tmp_path / "out", "--scores", scores["r"], "--truncated", "zero"]
    before = sorted(tmp_path.rglob("*"))
    preview = tiny.grao_json(*arguments, "--dry-run")
    assert sorted(tmp_path.rglob("*")) == before
    summary = tiny.grao_json(*arguments)
    distributions = {key: preview.pop(key) for key in ("sample_advantages", "reference_advantages", "histogram")}
    assert preview == {**summary, "parts_made": 0}
    assert summary["masked"] == {
        "zero-variance": {"samples": 2, "groups": 1},
        "truncated-to-zero": {"samples": 1, "groups": 1},
    }
    rows = open_table(str(tmp_path / "out")).arrow().to_pylist()
    samples = np.array([value for row in rows for value in row["advantages"] if value is not None])
    assert distributions["sample_advantages"]["mean"] == pytest.approx(samples.mean())
    assert distributions["sample_advantages"]["50%"] == pytest.approx(np.median(samples))
    assert sum(distributions["histogram"].values()) == len(samples) == 4
    assert distributions["reference_advantages"]["100%"] == pytest.approx(rows[0]["reference_advantage"])


def test_people_see_every_filter_and_the_distribution(tmp_path: Path) -> None:
    url, scores = write(tmp_path, GROUPS)
    result = tiny.grao("advantages", url, tmp_path / "out", "--scores", scores["r"], "--dry-run", "--top-k", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Dry run: ")
    for text in ("zero-variance samples 2, groups 1", "top-and-bottom samples 2, groups 1", "histogram", "50%"):
        assert text in result.stdout


def test_distributions_by_hand() -> None:
    values = np.array([0.0, 1.0, 2.0, 10.0], dtype=np.float32)
    described = distribution(values)
    assert (described["mean"], described["0%"], described["50%"], described["100%"]) == (3.25, 0.0, 1.5, 10.0)
    assert next(iter(histogram(values).items())) == ("0 … 1", 1)
    assert list(histogram(values).values()) == [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]
    assert distribution(values[:0]) == histogram(values[:0]) == {}
