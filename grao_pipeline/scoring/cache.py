"""The judgement cache: a (reward, prompt, completion) is judged once, across parts, rounds and runs.

One SQLite file. A judgement is written as soon as it is known, so a crash loses only the judgements in flight. Several
processes on one machine may share the file.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import fingerprint, message_key
from grao_pipeline.scoring.rewards.base import Candidate, Judgement

SCHEMA = """
CREATE TABLE IF NOT EXISTS rewards (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS judgements (
    reward INTEGER NOT NULL,
    candidate BLOB NOT NULL,
    value REAL,
    status TEXT NOT NULL,
    detail TEXT,
    tokens INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (reward, candidate)
) WITHOUT ROWID;
"""
LOCK_TIMEOUT_SECONDS = 60.0
SECONDS_PER_DAY = 86_400


def default_cache_path() -> Path:
    """`judgements.sqlite` in `GRAO_CACHE`, or in the user's cache directory."""
    directory = os.environ.get("GRAO_CACHE")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(directory) if directory else user_cache / "grao-pipeline") / "judgements.sqlite"


def cache_path(given: str) -> Path:
    """The file that `--cache` names; `auto` is the default file."""
    return default_cache_path() if given == "auto" else Path(given)


def candidate_fingerprint(candidate: Candidate, reads_group: bool) -> str:
    """Identity of everything that the reward sees of a candidate.

    Args:
        reads_group: whether the reward sees the other samples of the group.
    """
    messages = [message_key(message) for message in candidate.messages]
    others = list(candidate.others) if reads_group else []
    texts = [candidate.completion, candidate.finish_reason, candidate.reference]
    return fingerprint([messages, *texts, dict(candidate.metadata), others])


@dataclass(frozen=True)
class CacheLine:
    """One line of `grao cache info`."""

    reward: str
    """Fingerprint of the reward."""
    name: str
    judgements: int
    tokens: int
    """Tokens that the judge read and wrote for them."""
    days_unused: float
    """Days since one of them was last used."""


class JudgementCache:
    """Judgements by reward and candidate.

    Args:
        must_exist: do not make the file.

    Raises:
        InputError: the file cannot be opened, or is not a judgement cache.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path = Path(path)
        if must_exist and not self.path.is_file():
            raise InputError(f"There is no judgement cache at {self.path}. Name another file with --cache.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"The judgement cache {self.path} cannot be used: {error}.") from error

    def close(self) -> None:
        self._connection.close()

    def find(self, reward: str, candidates: Sequence[str]) -> list[Judgement | None]:
        """The judgement per candidate (fingerprint) by a reward (fingerprint); None for unknown ones."""
        key = self._reward_id(reward)
        query = "SELECT value, status, detail, tokens FROM judgements WHERE reward = ? AND candidate = ?"
        rows = [self._connection.execute(query, (key, bytes.fromhex(c))).fetchone() for c in candidates]
        hits = [(_now(), key, bytes.fromhex(c)) for c, row in zip(candidates, rows, strict=True) if row is not None]
        self._write(
            f"UPDATE judgements SET used = ? WHERE reward = ? AND candidate = ? AND used < {_now() - SECONDS_PER_DAY}",
            hits,
        )
        return [None if row is None else Judgement(*row) for row in rows]

    def add(self, reward: str, name: str, judged: Iterable[tuple[str, Judgement]]) -> None:
        """Store judgements of candidates (fingerprints), except errors: the next run tries those again."""
        valid = [(candidate, judgement) for candidate, judgement in judged if judgement.status != "error"]
        if not valid:
            return
        self._write("INSERT OR IGNORE INTO rewards (fingerprint, name) VALUES (?, ?)", [(reward, name)])
        key = self._reward_id(reward)
        rows = [
            (key, bytes.fromhex(candidate), j.reward, j.status, j.detail, j.tokens, _now()) for candidate, j in valid
        ]
        self._write("INSERT OR REPLACE INTO judgements VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def info(self) -> list[CacheLine]:
        """One line per reward, the largest first."""
        query = """
            SELECT fingerprint, name, count(*), sum(tokens), (? - max(used)) / ?
            FROM judgements JOIN rewards ON rewards.id = judgements.reward
            GROUP BY rewards.id ORDER BY count(*) DESC, fingerprint
        """
        return [CacheLine(*row) for row in self._connection.execute(query, (_now(), float(SECONDS_PER_DAY)))]

    def prune(
        self,
        unused_days: float | None = None,
        reward: str | None = None,
        status: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete the judgements that meet all given conditions.

        Args:
            unused_days: not used for this many days; use is recorded once per day.
            reward: name of the reward, e.g. `gsm8k`, or its fingerprint.
            status: e.g. `unparsable`, to have these sequences judged again.
            dry_run: only count them.

        Returns:
            number of deleted judgements.
        """
        conditions, values = ["TRUE"], list[object]()
        if unused_days is not None:
            conditions.append("used <= ?")
            values.append(_now() - unused_days * SECONDS_PER_DAY)
        if reward is not None:
            conditions.append("reward IN (SELECT id FROM rewards WHERE name = ? OR fingerprint = ?)")
            values += [reward, reward]
        if status is not None:
            conditions.append("status = ?")
            values.append(status)
        chosen = f"FROM judgements WHERE {' AND '.join(conditions)}"
        if dry_run:
            return int(self._connection.execute(f"SELECT COUNT(*) {chosen}", values).fetchone()[0])
        deleted = self._connection.execute(f"DELETE {chosen}", values).rowcount
        self._connection.execute("DELETE FROM rewards WHERE id NOT IN (SELECT reward FROM judgements)")
        self._connection.execute("VACUUM")
        return deleted

    def _reward_id(self, reward: str) -> int | None:
        row = self._connection.execute("SELECT id FROM rewards WHERE fingerprint = ?", (reward,)).fetchone()
        return None if row is None else int(row[0])

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write all rows in one transaction."""
        if not rows:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(statement, rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _now() -> int:
    return int(time.time())
