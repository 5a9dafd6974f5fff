"""The judgement cache: a (reward, prompt, completion) is judged once, across parts, rounds and runs.

One SQLite file on a disk of this machine, which several processes may share; for several machines see
`shared_cache.py`. A judgement is written as soon as it is known, so a crash loses only the judgements in flight.

Every row carries a checksum of its key and its value: a damaged row is unknown, and counted. A file that cannot be read
is an error; one that can no longer be written is a warning, since what was judged is in the scores, too.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from grao_pipeline.cache_directory import cache_directory
from grao_pipeline.errors import InputError
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.scoring.judgements import DAMAGED, SECONDS_PER_DAY, CacheLine, row_checksum
from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.steps import steps_of_text, steps_text

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
    checksum BLOB NOT NULL,
    steps TEXT,
    PRIMARY KEY (reward, candidate)
) WITHOUT ROWID;
"""
LOCK_TIMEOUT_SECONDS = 60.0
ADVICE = {"locked": "Another process holds it: try again later", "full": "Free some space"}
"""By a word of SQLite's message."""
DELETE = "Move or delete the file (its judgements will be made anew)"
UNCHECKED = ["reward", "candidate", "value", "status", "detail", "tokens", "used"]
"""The columns of judgements before they had checksums."""
INTACT = "is_intact(fingerprint, candidate, value, status, detail, tokens, steps, checksum)"
"""SQL; `fingerprint` is that of the reward."""


def default_cache_path() -> Path:
    """`judgements.sqlite` in `GRAO_CACHE`, or in the user's cache directory."""
    return cache_directory() / "judgements.sqlite"


class JudgementCache:
    """Judgements by reward and candidate.

    Args:
        must_exist: do not make the file.
        progress: is told when the file can no longer be written.

    Attributes:
        damaged: rows that were looked for and are not what was written.

    Raises:
        InputError: the file cannot be opened or read, or is not a judgement cache. So do all methods but `add`.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False, progress: Progress = SILENT) -> None:
        self.path = Path(path)
        self.damaged = 0
        self._progress = progress
        self._failure = ""
        """Why nothing is written any more."""
        if must_exist and not self.path.is_file():
            raise InputError(f"There is no judgement cache at {self.path}. Name another file with --cache.")
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        columns = [column[1] for column in self._connection.execute("PRAGMA table_info(judgements)")]
        if [column for column in columns if column != "steps"] == UNCHECKED:
            self._connection.execute(f"ALTER TABLE judgements RENAME TO unchecked_judgements_{_now()}")
            self._progress.warn(f"The judgements in {self.path} have no checksums; they are set aside, and made anew.")
        self._connection.executescript(SCHEMA)
        self._connection.execute("SELECT checksum FROM judgements LIMIT 1")
        if columns and "steps" not in columns:  # written before judgements had steps
            self._add_steps()
        self._connection.create_function("is_intact", 8, _is_intact, deterministic=True)

    def _add_steps(self) -> None:
        try:
            self._connection.execute("ALTER TABLE judgements ADD COLUMN steps TEXT")
        except sqlite3.OperationalError as error:
            if "duplicate column" not in str(error):  # another process was faster
                raise

    @property
    def place(self) -> str:
        """Where it is."""
        return str(self.path)

    @property
    def num_bytes(self) -> int:
        """The size of the file."""
        return self.path.stat().st_size

    def close(self) -> None:
        self._connection.close()

    def find(self, reward: str, candidates: Sequence[str]) -> list[Judgement | None]:
        """The judgement per candidate (fingerprint) by a reward (fingerprint); None for unknown and damaged ones."""
        query = (
            "SELECT value, status, detail, tokens, steps, checksum FROM judgements WHERE reward = ? AND candidate = ?"
        )
        keys = [bytes.fromhex(candidate) for candidate in candidates]
        with self._errors():
            number = self._reward_id(reward)
            rows = [self._connection.execute(query, (number, key)).fetchone() for key in keys]
        are_intact = [row is not None and _is_intact(reward, key, *row) for key, row in zip(keys, rows, strict=True)]
        self.damaged += sum(row is not None for row in rows) - sum(are_intact)
        self._write(
            f"UPDATE judgements SET used = ? WHERE reward = ? AND candidate = ? AND used < {_now() - SECONDS_PER_DAY}",
            [(_now(), number, key) for key, is_intact in zip(keys, are_intact, strict=True) if is_intact],
        )
        return [
            Judgement(row[0], row[1], row[2], row[3], steps_of_text(row[4])) if is_intact else None
            for row, is_intact in zip(rows, are_intact, strict=True)
        ]

    def add(self, reward: str, name: str, judged: Iterable[tuple[str, Judgement]]) -> None:
        """Store judgements of candidates (fingerprints), except errors: the next run tries those again. Where the file
        cannot be written, that is said once, and nothing more is stored.
        """
        valid = [(candidate, judgement) for candidate, judgement in judged if judgement.status != "error"]
        if not valid:
            return
        self._write("INSERT OR IGNORE INTO rewards (fingerprint, name) VALUES (?, ?)", [(reward, name)])
        columns = "reward, candidate, value, status, detail, tokens, steps, used, checksum"
        select = "SELECT id, ?, ?, ?, ?, ?, ?, ?, ? FROM rewards WHERE fingerprint = ?"
        rows = []
        for candidate, judgement in valid:
            key = bytes.fromhex(candidate)
            value = (
                judgement.reward,
                judgement.status,
                judgement.detail,
                judgement.tokens,
                steps_text(judgement.steps),
            )
            rows.append((key, *value, _now(), row_checksum(reward, key, *value), reward))
        self._write(f"INSERT OR REPLACE INTO judgements ({columns}) {select}", rows)

    def remarks(self) -> list[str]:
        """What people should know of the file, a sentence each."""
        remarks = [self._failure] if self._failure else []
        if self.damaged:
            remarks.append(
                f"{self.damaged:,} judgements in the judgement cache {self.path} are damaged, and were made anew. Look "
                "at the disk; grao cache prune --status damaged deletes all that are."
            )
        return remarks

    def info(self) -> list[CacheLine]:
        """One line per reward, the largest first."""
        query = f"""
            SELECT CAST(fingerprint AS TEXT), CAST(name AS TEXT), count(*), CAST(sum(tokens) AS INTEGER),
                CAST(? - max(used) AS REAL) / ?,
                sum(NOT {INTACT})
            FROM judgements JOIN rewards ON rewards.id = judgements.reward
            GROUP BY rewards.id ORDER BY count(*) DESC, fingerprint
        """
        with self._errors():
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
            status: e.g. `unparsable`, to have these sequences judged again; `damaged`: the checksum is wrong.
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
        if status == DAMAGED:
            conditions.append(f"NOT (SELECT {INTACT} FROM (SELECT 1) LEFT JOIN rewards ON id = judgements.reward)")
        elif status is not None:
            conditions.append("status = ?")
            values.append(status)
        chosen = f"FROM judgements WHERE {' AND '.join(conditions)}"
        with self._errors():
            if dry_run:
                return int(self._connection.execute(f"SELECT COUNT(*) {chosen}", values).fetchone()[0])
            deleted = self._connection.execute(f"DELETE {chosen}", values).rowcount
            self._connection.execute("DELETE FROM rewards WHERE id NOT IN (SELECT reward FROM judgements)")
            self._connection.execute("VACUUM")
        return deleted

    def _reward_id(self, reward: str) -> int | None:
        row = self._connection.execute("SELECT id FROM rewards WHERE fingerprint = ?", (reward,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else None  # NULL in a damaged index

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write all rows in one transaction, unless the file cannot be written any more."""
        if not rows or self._failure:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # after some errors SQLite has rolled back already
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self._failure = (
                f"The judgement cache {self.path} cannot be written ({error}): what is judged from here on is in the "
                "scores alone, and a run that is interrupted judges it again."
            )
            self._progress.warn(self._failure)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Name the file in what SQLite raises.

        Raises:
            InputError: SQLite, or the file system, raised an error.
        """
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: NUL in the path
            shown = str(self.path).replace("\0", "\\0")
            advice = next((advice for word, advice in ADVICE.items() if word in str(error)), DELETE)
            raise InputError(
                f"The judgement cache {shown} cannot be used: {error}. {advice}, name another file with "
                "--cache, or go without one (--no-use-cache)."
            ) from error


def _is_intact(reward: object, candidate: object, *value_and_checksum: object) -> bool:
    *value, checksum = value_and_checksum
    return checksum == row_checksum(reward, candidate, *value)


def _now() -> int:
    return int(time.time())
