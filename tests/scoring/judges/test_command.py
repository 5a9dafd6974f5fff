"""`grao score` with a judge, from table to table."""

from pathlib import Path

import pytest

from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.scoring.judges.common import Answer, JudgeServer, longer_wins

NUMBER_OF_CALLS = 2 * 2 * 3  # two orders, two samples that are not the reference, three groups


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Three groups of three samples, one of which is the reference."""
    rows = [tiny.group_row(f"Question {i}?", [f"Answer {i}.", "No.", "Well"], "Well") for i in range(3)]
    return tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=2)


@pytest.mark.slow
def test_samples_and_references_of_a_table_are_judged(server: JudgeServer, table: str, tmp_path: Path) -> None:
    server.rule = longer_wins
    options = ["--reward", "judge-pairwise", "--reward-arg", f"base_url={server.base_url}", "--no-use-cache"]
    summary = tiny.grao_json("score", table, tmp_path / "out", *options)
    rows = open_table(str(tmp_path / "out"), "scores").arrow().to_pylist()
    assert [row["rewards"] for row in rows] == [[1.0, -1.0, 0.0]] * 3
    assert [row["reference_reward"] for row in rows] == [0.0] * 3
    assert len(server.requests) == NUMBER_OF_CALLS
    assert summary["tokens_spent"] == NUMBER_OF_CALLS * 107


@pytest.mark.slow
def test_win_rates_are_of_the_samples_own_group(server: JudgeServer, table: str, tmp_path: Path) -> None:
    """The longer wins. The reference, also `Well`, loses to `Answer`, ties with `Well` and beats `No.`"""
    server.rule = longer_wins
    options = ["--reward", "judge-win-rate", "--reward-arg", f"base_url={server.base_url}", "--no-use-cache"]
    tiny.grao_json("score", table, tmp_path / "out", *options)
    rows = open_table(str(tmp_path / "out"), "scores").arrow().to_pylist()
    assert [row["rewards"] for row in rows] == [[1.0, 0.0, 0.5]] * 3
    assert [row["reference_reward"] for row in rows] == [0.5] * 3


@pytest.mark.slow
def test_a_judge_that_refuses_everything_fails_the_stage(server: JudgeServer, table: str, tmp_path: Path) -> None:
    server.rule = lambda _: Answer(status=400, error="response_format is not supported")
    options = ["--reward", "judge-rubric", "--reward-arg", f"base_url={server.base_url}", "--no-use-cache"]
    result = tiny.grao("score", table, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert "response_format is not supported" in result.stderr
    assert isinstance(result.exception, SystemExit)
