"""The table of results in terminals of any width."""

import shutil
from typing import Any

import pytest

from grao_pipeline.cli.rounds import print_results
from grao_pipeline.rounds.results import ModelRow

METRICS: dict[str, dict[str, Any] | None] = {
    name: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9} for name in ("mean_reward", "ras", "nag_win_rate", "nag_net")
}
ROWS = [
    ModelRow("", "base", {**METRICS, "nag_net": None}, {"evaluate-generate": 1.0}),
    ModelRow("beta=0.25", "round-0", METRICS, {"generate": 1.0, "score-g": 2.0, "advantages": 3.0, "train": 4.0}),
]


@pytest.mark.parametrize("columns", [80, 100, 160, 250])
def test_every_number_is_whole_and_no_line_is_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert shutil.get_terminal_size().columns == columns
    print_results(ROWS)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= columns
    assert text.count("[0.400, 0.600]") == 3 + 4
    assert "…" not in text
    assert "beta=0.25" in text
