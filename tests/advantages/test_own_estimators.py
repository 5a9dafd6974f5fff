"""Estimators of a user's own: edited code is other work, and their failures are named."""

from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Groups and scores of one group; the current directory is the test's own."""
    monkeypatch.chdir(tmp_path)
    row = tiny.group_row("a", ["x", "y"])
    groups = tiny.write_table(tmp_path / "groups", "groups", [row])
    scores = [{"group_id": row["group_id"], "rewards": [1.0, 0.0], "reference_reward": 0.5, "statuses": ["ok", "ok"]}]
    return groups, tiny.write_table(tmp_path / "scores", "scores", scores, options={"name": "own"})


def test_an_edited_estimator_is_other_work(tables: tuple[str, str], tmp_path: Path) -> None:
    from grao_pipeline.advantages.compute import advantages_provenance
    from grao_pipeline.advantages.options import AdvantagesOptions

    source = tmp_path / "edited_estimator.py"
    source.write_text("import polars as pl\ndef f(view, *, statistics):\n    return pl.lit(1.0)\n")
    options = AdvantagesOptions(estimator="edited_estimator:f")
    before = advantages_provenance(options, "g", []).fingerprint
    assert advantages_provenance(options, "g", []).fingerprint == before
    source.write_text("import polars as pl\ndef f(view, *, statistics):\n    return pl.lit(2.0)\n")
    assert advantages_provenance(options, "g", []).fingerprint != before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('colour')", "KeyError: 'colour'"),
        ("return pl.col('colour')", "ColumnNotFoundError"),
        ("return 1.0", "AttributeError"),
    ],
)
def test_a_failing_estimator_is_named_without_traceback(
    tables: tuple[str, str], tmp_path: Path, body: str, message: str
) -> None:
    name = f"failing_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"import polars as pl\ndef f(view, *, statistics):\n    {body}\n")
    groups, scores = tables
    result = tiny.grao("advantages", groups, tmp_path / "out", "--scores", scores, "--estimator", f"{name}:f")
    assert result.exit_code == 1
    assert f"Estimator '{name}:f' failed: {message}" in result.stderr
