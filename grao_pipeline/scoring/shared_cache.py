"""The judgement cache in a directory that several machines share: a network file system, or an object store.

SQLite must not lie on either. Here every process writes new files, whole and never changed: DIRECTORY/REWARD/
NAME.parquet, a row for a judgement. All processes read all files. Every row carries a checksum, as in the file of one
machine (`cache.py`).
"""

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from grao_pipeline.errors import DamagedPart, InputError, UsageError
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.scoring.judgements import DAMAGED, SECONDS_PER_DAY, CacheLine, row_checksum
from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.steps import steps_of_text, steps_text
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.parquet import decode, encode_plain, key_values

SCHEMA = pa.schema(
    {
        "candidate": pa.binary(),
        "value": pa.float64(),
        "status": pa.string(),
        "detail": pa.string(),
        "tokens": pa.int64(),
        "steps": pa.string(),
        "made": pa.int64(),
        "checksum": pa.binary(),
    },
    metadata={},
)
NAME = b"reward"
"""Metadata of a file: the name of its reward."""
SUFFIX = ".parquet"
ROWS_PER_FILE = 256
SECONDS_PER_FILE = 10.0
"""A judgement is written once there are this many, or after this time: a crash loses no more."""
MANY_FILES = 64
"""Of a reward: they are put together into one."""

Row = dict[str, object]


@dataclass
class _Known:
    """What is known of one reward."""

    directory: Directory
    name: str = ""
    rows: dict[str, Row] = field(default_factory=dict)
    """By the candidate's fingerprint; intact ones."""
    damaged: set[str] = field(default_factory=set)
    """Candidates of rows whose checksum is wrong."""
    files: set[str] = field(default_factory=set)
    """That were read, or written here."""
    unwritten: list[Row] = field(default_factory=list)
    written_at: float = field(default_factory=time.monotonic)


class SharedJudgements:
    """Judgements by reward and candidate; the methods are those of `JudgementCache`.

    Attributes:
        damaged: judgements, or whole files of them, that were looked for and are not what was written.

    Raises:
        InputError: the place does not answer, or there is no such cache. So do all methods but `add`.
    """

    def __init__(self, url: str, *, must_exist: bool = False, progress: Progress = SILENT) -> None:
        self.place = url.rstrip("/")
        self.damaged = 0
        self._progress = progress
        self._failure = ""
        self._known: dict[str, _Known] = {}
        if must_exist and not Directory(self.place).folders():
            raise InputError(f"There is no judgement cache at {self.place}. Name another place with --cache.")

    @property
    def num_bytes(self) -> int:
        """Size of all its files."""
        folders = [Directory(f"{self.place}/{reward}") for reward in Directory(self.place).folders()]
        return sum(len(folder.read(name)) for folder in folders for name in _files(folder))

    def close(self) -> None:
        """Write what is not written yet; put many small files together."""
        for reward, known in self._known.items():
            self._write(reward, known)
            if len(known.files) > MANY_FILES and not self._failure:
                self._replace(known, list(known.rows.values()))

    def find(self, reward: str, candidates: Sequence[str]) -> list[Judgement | None]:
        """The judgement per candidate (fingerprint) by a reward (fingerprint); None for unknown and damaged ones."""
        known = self._refreshed(reward)
        self.damaged += sum(key in known.damaged and key not in known.rows for key in set(candidates))
        return [_judgement(known.rows[key]) if key in known.rows else None for key in candidates]

    def add(self, reward: str, name: str, judged: Iterable[tuple[str, Judgement]]) -> None:
        """Store judgements of candidates (fingerprints), except errors. Where no file can be written, that is said
        once, and nothing more is stored."""
        known = self._known.setdefault(reward, _Known(Directory(f"{self.place}/{reward}", self._progress)))
        known.name = name
        for candidate, judgement in judged:
            if judgement.status != "error":
                row = _row(reward, candidate, judgement)
                known.rows[candidate] = row
                known.unwritten.append(row)
        if len(known.unwritten) >= ROWS_PER_FILE or time.monotonic() - known.written_at > SECONDS_PER_FILE:
            self._write(reward, known)

    def remarks(self) -> list[str]:
        """What people should know of the cache, a sentence each; what is not written yet is written first."""
        for reward, known in self._known.items():
            self._write(reward, known)
        remarks = [self._failure] if self._failure else []
        if self.damaged:
            remarks.append(f"{self.damaged:,} judgements in the judgement cache {self.place} are damaged: made anew.")
        return remarks

    def info(self) -> list[CacheLine]:
        """One line per reward, the largest first; `days_unused` counts from when the newest was made."""
        lines = []
        for reward in Directory(self.place).folders():
            known = self._refreshed(reward)
            if known.rows or known.damaged:
                newest = max((int(str(row["made"])) for row in known.rows.values()), default=0)
                tokens = sum(int(str(row["tokens"])) for row in known.rows.values())
                days = (time.time() - newest) / SECONDS_PER_DAY
                count = len(known.rows) + len(known.damaged)
                lines.append(CacheLine(reward, known.name, count, tokens, days, len(known.damaged)))
        return sorted(lines, key=lambda line: (-line.judgements, line.reward))

    def prune(
        self,
        unused_days: float | None = None,
        reward: str | None = None,
        status: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete the judgements that meet all given conditions, see `JudgementCache.prune`.

        Args:
            unused_days: made this many days ago; use is not recorded here.

        Returns:
            number of deleted judgements.

        Raises:
            UsageError: `unused_days` with the status `damaged`: their date may be damaged, too.
        """
        if status == DAMAGED and unused_days is not None:
            raise UsageError(
                f"the date of a damaged judgement in {self.place} may be damaged, too. Leave this option out.",
                option="unused_days",
            )
        deleted = 0
        latest = time.time() - (unused_days or 0.0) * SECONDS_PER_DAY
        for fingerprint in Directory(self.place).folders():
            known = self._refreshed(fingerprint)
            if reward not in (None, known.name, fingerprint):
                continue
            if status == DAMAGED:
                rows, count = list(known.rows.values()), len(known.damaged)
            else:
                rows = [
                    row
                    for row in known.rows.values()
                    if status not in (None, row["status"])
                    or (unused_days is not None and int(str(row["made"])) > latest)
                ]
                count = len(known.rows) - len(rows)
            deleted += count
            if count and not dry_run:
                self._replace(known, rows)
        return deleted

    def _refreshed(self, reward: str) -> _Known:
        """What all processes have written so far."""
        known = self._known.setdefault(reward, _Known(Directory(f"{self.place}/{reward}", self._progress)))
        for name in _files(known.directory):
            if name not in known.files:
                self._read(reward, known, name)
        return known

    def _read(self, reward: str, known: _Known, name: str) -> None:
        try:
            data, where = known.directory.read(name), known.directory.path(name)
            rows = _with_steps(decode(data, where)).cast(SCHEMA).to_pylist()
            known.name = known.name or key_values(data, where).get(NAME, b"").decode()
        except (DamagedPart, pa.ArrowInvalid, ValueError):
            self.damaged += 1
            known.files.add(name)
            return
        except InputError:
            if known.directory.exists(name):
                raise
            return  # another process has just put it together with others
        known.files.add(name)
        for row in rows:
            candidate = (row["candidate"] or b"").hex()
            value = (row["value"], row["status"], row["detail"], row["tokens"], row["steps"])
            if row["checksum"] == row_checksum(reward, row["candidate"], *value):
                known.rows[candidate] = row
            else:
                known.damaged.add(candidate)

    def _write(self, reward: str, known: _Known) -> None:
        """Write the new judgements as one more file."""
        known.written_at = time.monotonic()
        if not known.unwritten or self._failure:
            return
        try:
            known.files.add(self._write_file(known, known.unwritten))
            known.unwritten = []
        except InputError as error:
            self._failure = (
                f"The judgement cache {self.place} cannot be written ({error}) What is judged from here on is in the "
                "scores alone, and a run that is interrupted judges it again."
            )
            self._progress.warn(self._failure)

    def _replace(self, known: _Known, rows: Sequence[Row]) -> None:
        """Put the files that were read together into one; those that others write meanwhile stay."""
        old, known.files = known.files, set()
        if rows:
            known.files.add(self._write_file(known, rows))
        for name in old:
            known.directory.delete(name)

    def _write_file(self, known: _Known, rows: Sequence[Row]) -> str:
        name = f"{secrets.token_hex(8)}{SUFFIX}"
        schema = SCHEMA.with_metadata({NAME: known.name.encode()})
        known.directory.write(name, encode_plain(pa.Table.from_pylist(list(rows), schema=schema)))
        return name


def _files(directory: Directory) -> list[str]:
    return [name for name in directory.names() if name.endswith(SUFFIX)]


def _row(reward: str, candidate: str, judgement: Judgement) -> Row:
    key = bytes.fromhex(candidate)
    value = None if judgement.reward is None else float(judgement.reward)
    values = (value, judgement.status, judgement.detail, judgement.tokens, steps_text(judgement.steps))
    return {
        **dict(zip(("candidate", "value", "status", "detail", "tokens", "steps"), (key, *values), strict=True)),
        "made": int(time.time()),
        "checksum": row_checksum(reward, key, *values),
    }


def _with_steps(table: pa.Table) -> pa.Table:
    """Files that were written before judgements had steps have no such column."""
    place = SCHEMA.get_field_index("steps")
    return table if "steps" in table.column_names else table.add_column(place, "steps", pa.nulls(len(table)))


def _judgement(row: Row) -> Judgement:
    steps = steps_of_text(row["steps"])  # type: ignore[arg-type]  # checked by its checksum, like the others
    return Judgement(row["value"], row["status"], row["detail"], row["tokens"], steps)  # type: ignore[arg-type]
