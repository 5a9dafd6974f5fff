"""Summaries for people: what fits the terminal, and what is cut."""

import pytest

from grao_pipeline.cli.summaries import print_summary, readable

PLACE = "runs/tournament/grao/round-0/evaluate-generate"


def printed(capsys: pytest.CaptureFixture[str], rows: list[dict[str, object]]) -> list[str]:
    print_summary({"rows": rows}, False, "Title")
    return capsys.readouterr().out.splitlines()[2:]


def test_a_table_cuts_fingerprints_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, [{"fingerprint": "0123456789abcdef" * 2, "place": PLACE, "steps": 3}])
    assert lines == [
        "    fingerprint  place                                           steps",
        f"    01234567…    {PLACE}      3",
    ]


def test_a_table_wider_than_the_terminal_has_a_line_for_every_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    rows: list[dict[str, object]] = [{"rounds_behind": n, "groups_trained": 10 * n, "policy": "base"} for n in (0, 1)]
    assert printed(capsys, rows) == [
        "    rounds behind      0     1",
        "    groups trained     0    10",
        "    policy          base  base",
    ]


def test_lists_and_truth_values_are_words() -> None:
    assert readable(["tensorboard", "mlflow"]) == "tensorboard, mlflow"
    assert (readable(True), readable(False)) == ("yes", "no")
