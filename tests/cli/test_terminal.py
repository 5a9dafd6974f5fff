"""No text that a model, a data set or a server wrote commands the terminal that shows it."""

import unicodedata
from pathlib import Path

import pytest

from grao_pipeline.cli.lines import LineProgress
from grao_pipeline.cli.terminal import visible
from tests import tiny

HOSTILE = "\x1b[31m\x9b2J\x07\r\u202e\u2066\u200b\ufeff\U000e0041\x7f\udc80"
SHOWN = r"\x1b[31m\x9b2J\x07\r\u202e\u2066\u200b\ufeff\U000e0041\x7f\udc80"


def obeyed(text: str) -> set[str]:
    """Characters of Unicode's classes of controls, formats, surrogates and separators, but for newline and tab."""
    return {character for character in text if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {
        *"\n\t"
    }


@pytest.mark.slow
def test_every_character_that_a_terminal_obeys_is_written_out() -> None:
    assert visible(HOSTILE) == SHOWN
    everything = "".join(map(chr, range(0x110000)))
    joiners_and_letters = obeyed(visible(everything))
    assert {"\u200c", "\u200d"} <= joiners_and_letters  # Persian and emoji need them
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in joiners_and_letters)
    assert not any(unicodedata.bidirectional(c)[:2] in ("LR", "RL", "PD", "FS") for c in joiners_and_letters)


@pytest.mark.parametrize("text", ["Größe\t→ 日本語\n👩‍👩‍👧 می‌خواهم", "note: 5 groups"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_notes_warnings_and_logs_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    progress = LineProgress("info")
    progress.note(HOSTILE)
    progress.warn(HOSTILE)
    with progress.track("x", 2, "groups") as bar:
        bar.log(HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\n" * 3


def test_inspect_and_errors_show_texts_and_ids_of_a_table_visibly(tmp_path: Path) -> None:
    hostile = HOSTILE.replace("\udc80", "")
    row = {**tiny.group_row(hostile, [hostile]), "group_id": hostile}
    tiny.write_table(tmp_path / "groups", "groups", [row])
    shown = tiny.grao("inspect", tmp_path / "groups")
    assert shown.exit_code == 0
    refused = tiny.grao("score", tmp_path / "groups", tmp_path / "scores", "--reward", f"no{hostile}such")
    assert refused.exit_code != 0
    assert not obeyed(shown.output) | obeyed(refused.output)
