"""A judgement cache that is damaged, full, locked or no cache at all: named, and never another reward."""

import os
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.scoring import cache as cache_module
from grao_pipeline.scoring.cache import JudgementCache
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import FakeReward, Judgement
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.scoring.summary import ScoreSummary
from grao_pipeline.storage.reader import open_table
from tests import tiny

KEYS = [f"{number:032x}" for number in range(40)]
REWARD = "a" * 32


def fill(path: Path) -> list[Judgement | None]:
    """Forty judgements, and the file without a write-ahead log."""
    judgements = [Judgement(number / 7, detail=f"number {number}", tokens=number) for number in range(40)]
    cache = JudgementCache(path)
    cache.add(REWARD, "name", zip(KEYS, judgements, strict=True))
    cache.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return list(judgements)


def score(path: Path, groups: str, out: str) -> tuple[ScoreSummary, list[dict[str, Any]]]:
    summary = score_groups(groups, out, ScoreOptions(reward="fake", cache=str(path)), reward=FakeReward())
    return summary, open_table(out, "scores").arrow().to_pylist()


@pytest.fixture
def groups(tmp_path: Path) -> str:
    rows = [tiny.group_row(f"question {n}", ["a" * n, "b" * (n + 20)]) for n in range(1, 9)]
    return tiny.write_table(tmp_path / "groups", "groups", rows)


def test_a_flipped_bit_anywhere_is_the_written_judgement_an_unknown_one_or_an_error(tmp_path: Path) -> None:
    """Every 397th byte, each with another bit."""
    path = tmp_path / "cache.sqlite"
    written = fill(path)
    whole = path.read_bytes()
    outcomes = {"written": 0, "unknown": 0, "error": 0, "nameless": 0}
    for position in range(0, len(whole), 397):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        for name in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        try:
            with closing(JudgementCache(path)) as cache:
                read = cache.find(REWARD, KEYS)
        except InputError as error:
            outcomes["error" if str(path) in str(error) else "nameless"] += 1
            continue
        assert all(judgement in (None, of_key) for judgement, of_key in zip(read, written, strict=True)), position
        outcomes["unknown" if None in read else "written"] += 1
    assert outcomes.pop("nameless") == 0
    assert min(outcomes.values()) > 0, outcomes


def test_a_damaged_row_is_judged_anew_and_said(tmp_path: Path, groups: str) -> None:
    path = tmp_path / "cache.sqlite"
    _, rows = score(path, groups, str(tmp_path / "first"))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    whole = path.read_bytes()
    position = whole.find(struct.pack(">b", 27) + b"ok")  # the reward of 27 characters: stored as an integer
    assert position > 0
    path.write_bytes(whole[:position] + bytes([26]) + whole[position + 1 :])
    summary, again = score(path, groups, str(tmp_path / "second"))
    assert again == rows
    assert (summary.cache_damaged, summary.cache_misses) == (1, 1)
    assert "1 judgements in the judgement cache" in summary.notes[0]
    assert score(path, groups, str(tmp_path / "third"))[0].cache_damaged == 0


def test_info_counts_damaged_judgements_and_prune_deletes_them(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    fill(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE judgements SET value = value + 1 WHERE tokens < 3")
    connection.commit()
    connection.close()
    assert "3 damaged" in tiny.grao("cache", "info", "--cache", path).stdout
    assert tiny.grao_json("cache", "prune", "--cache", path, "--status", "damaged")["deleted"] == 3
    (line,) = tiny.grao_json("cache", "info", "--cache", path)["rewards"]
    assert (line["judgements"], line["damaged"]) == (37, 0)


def damage_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)


def text_file(path: Path) -> None:
    path.write_text("not a database, " * 100)


def other_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE judgements (reward, candidate, value)")
    connection.close()


@pytest.mark.parametrize("damage", [damage_pages, text_file, other_database])
@pytest.mark.parametrize("command", ["score", "info", "prune"])
def test_a_file_that_cannot_be_used_is_one_message(tmp_path: Path, groups: str, damage: Any, command: str) -> None:
    path = tmp_path / "cache.sqlite"
    score(path, groups, str(tmp_path / "first"))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    damage(path)
    commands: dict[str, list[object]] = {
        "score": ["score", groups, tmp_path / "second", "--reward", "length", "--reward-arg", "target=6"],
        "info": ["cache", "info"],
        "prune": ["cache", "prune", "--unused-days", "0"],
    }
    result = tiny.grao(*commands[command], "--cache", path)
    assert result.exit_code == 1
    assert f"Error: The judgement cache {path} cannot be used: " in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_paths_that_cannot_be_a_cache_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "cache", Path("a\0b"), tmp_path / ("n" * 300), Path("/proc/cache")):
        with pytest.raises(InputError, match=r"The judgement cache .* cannot be used: .*\. Move or delete the file"):
            JudgementCache(path)


def test_a_cache_that_another_process_holds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LOCK_TIMEOUT_SECONDS", 0.01)
    fill(tmp_path / "cache.sqlite")
    holder = sqlite3.connect(tmp_path / "cache.sqlite")
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match=r"is locked\. Another process holds it: try again later"):
        JudgementCache(tmp_path / "cache.sqlite")
    holder.close()


def test_what_cannot_be_stored_is_scored_all_the_same(
    tmp_path: Path, groups: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process begins to hold the file while a run uses it."""
    monkeypatch.setattr(cache_module, "LOCK_TIMEOUT_SECONDS", 0.01)
    holder = sqlite3.connect(tmp_path / "cache.sqlite", isolation_level=None)
    holder.execute("PRAGMA journal_mode = WAL")

    class Slow(FakeReward):
        def score(self, candidates: Any) -> Iterator[Judgement]:
            if not holder.in_transaction:
                holder.execute("BEGIN IMMEDIATE")
            yield from super().score(candidates)

    progress = RecordedProgress()
    options = ScoreOptions(reward="fake", cache=str(tmp_path / "cache.sqlite"))
    summary = score_groups(groups, str(tmp_path / "scores"), options, progress, reward=Slow())
    assert summary.statuses == {"ok": 16}
    (warning,) = progress.warnings
    assert warning == summary.notes[0]
    assert "cache.sqlite cannot be written (database is locked)" in warning
    holder.close()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_named_or_scored_without_the_cache(tmp_path: Path) -> None:
    """Disks from too small for an empty cache to too small for its judgements."""
    rows = [tiny.group_row(f"q{n}", [f"a{n} {j}" for j in range(8)]) for n in range(150)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=50)
    disk = tmp_path / "disk"
    disk.mkdir()
    outcomes = set()
    for size in ("16k", "60k", "100k", "160k"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
        try:
            summary, _ = score(disk / "cache.sqlite", groups, str(tmp_path / size))
            outcomes.add(summary.notes[0].partition(": ")[0].rpartition(" (")[2])
        except InputError as error:
            outcomes.add("refused" if str(disk / "cache.sqlite") in str(error) else str(error))
        finally:
            subprocess.run(["umount", disk], check=True)
    assert outcomes == {"refused", "database or disk is full)"}


def test_judgements_without_checksums_are_set_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    fill(path)
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE judgements DROP COLUMN checksum")
    connection.close()
    progress = RecordedProgress()
    with closing(JudgementCache(path, progress=progress)) as cache:
        assert cache.find(REWARD, KEYS) == [None] * len(KEYS)
    assert progress.warnings == [f"The judgements in {path} have no checksums; they are set aside, and made anew."]
