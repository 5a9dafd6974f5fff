"""The intake of a source: every row that is read is kept, or dropped for a reason that is counted.

`grao prompts` and `grao import` share it; what a row becomes is their ledgers' business.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import DIGITS
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.base import DroppedRow, Row
from grao_pipeline.prompts.canonical import canonical_json, plain
from grao_pipeline.prompts.mapping import check_mapping, parse_mapping
from grao_pipeline.prompts.options import SourceOptions
from grao_pipeline.prompts.sources import read_rows
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import has_manifest, part_files

HEAD_ROWS = 1000
"""The columns are those of the first rows; a source may be far larger than memory."""
ROWS_PER_CHUNK = 1000


class Ledger(Protocol):
    """Keeps what the rows of one source become. `begin` is called once, then `keep` for every row."""

    @property
    def product(self) -> str:
        """What a row becomes, for messages, e.g. `prompt`."""
        ...

    def begin(self, columns: Mapping[str, str], head: Iterator[Row]) -> None:
        """Check that the source can be used.

        Args:
            columns: every column of the source → its field, i.e. its name after `--map`.
            head: the first rows, by field.

        Raises:
            UsageError: the columns do not fit the options.
        """
        ...

    def keep(self, row: Row) -> None:
        """Keep a row, by field.

        Raises:
            DroppedRow: it cannot be used; nothing of it is kept.
        """
        ...


@dataclass(frozen=True)
class Intake:
    """What was read of a source. What the ledger keeps and `sum(dropped.values())` add up to `num_read`.

    Attributes:
        dropped: number of rows by reason, the most frequent first.
        fingerprint: hash of the rows, independent of the kind of file that they came in.
    """

    source: str
    num_read: int
    dropped: dict[str, int]
    fingerprint: str

    def details(self) -> dict[str, str | int | dict[str, int]]:
        """For the provenance of the table that the rows become."""
        # The name alone: the same rows in another place must give the same bytes.
        name = Path(self.source).name if Path(self.source).expanduser().exists() else self.source
        return {"source": name, "read": self.num_read, "dropped": self.dropped}


def take_in(source: str, options: SourceOptions, ledger: Ledger, progress: Progress) -> Intake:
    """Show every row of `source` to the ledger, and write the dropped ones to `options.rejects`.

    Raises:
        InputError: the source cannot be read, or every row was dropped.
        UsageError: the options do not fit the source's columns.
    """
    mapping = parse_mapping(options.map)
    row_hash = hashlib.sha256()
    dropped: Counter[str] = Counter()
    rejects: list[str] = []
    num_read = 0
    with closing(read_rows(source, options.split, options.subset, progress)) as all_rows:
        rows = islice(all_rows, options.limit)
        with progress.track(f"opening {source}"):
            head = list(islice(rows, HEAD_ROWS))
        if not head:
            raise InputError(f"{source} has no rows.")
        columns = {column: mapping.get(column, column) for row in head for column in row}
        check_mapping(mapping, list(columns))
        ledger.begin(columns, (_by_field(row, mapping) for row in head))
        with progress.track("reading rows", options.limit, "rows") as bar:
            for row in chain(head, rows):
                row_hash.update(canonical_json(row).encode("utf-8", "surrogatepass") + b"\n")
                try:
                    ledger.keep(_by_field(row, mapping))
                except DroppedRow as reason:
                    dropped[str(reason)] += 1
                    if options.rejects is not None:
                        rejects.append(_reject(num_read, str(reason), row))
                num_read += 1
                bar.advance(1, dropped=dropped.total())
    by_reason = dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0])))
    if options.rejects is not None:
        _write_rejects(options.rejects, rejects)
    if dropped.total() == num_read:
        raise InputError(_nothing_kept(source, ledger.product, by_reason, options.rejects))
    return Intake(source, num_read, by_reason, row_hash.hexdigest()[:DIGITS])


class ArrowRows:
    """Rows of one schema, turned to Arrow chunk by chunk: Python's objects take far more memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[Row] = []
        self._chunks: list[pa.Table] = [schema.empty_table()]

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_CHUNK:
            self._flush()

    def table(self) -> pa.Table:
        """All rows so far, in order."""
        self._flush()
        return pa.concat_tables(self._chunks)

    def _flush(self) -> None:
        self._chunks.append(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def holds_table(url: str) -> bool:
    """Whether a directory is a table, finished or not; another table must not be written into it."""
    return has_manifest(url) or bool(part_files(Directory(url)))


def _by_field(row: Row, mapping: Mapping[str, str]) -> Row:
    return {mapping.get(column, column): value for column, value in row.items()}


def _reject(number: int, reason: str, row: Row) -> str:
    """A dropped row as JSON."""
    return json.dumps({"row": number, "reason": reason, "data": plain(row)}, ensure_ascii=False)


def _write_rejects(path: str, rejects: list[str]) -> None:
    """Write dropped rows, a line each. An unpaired surrogate is written as the JSON escape that spelled it."""
    lines = "".join(f"{line}\n" for line in rejects)
    parent, name = os.path.split(path)
    Directory(parent or ".").write(name, lines.encode("utf-8", "backslashreplace"))


def _nothing_kept(source: str, product: str, dropped: Mapping[str, int], rejects: str | None) -> str:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in dropped.items())
    advice = f"They are in {rejects}." if rejects else "See them with --rejects FILE."
    return f"{source} yields no {product}: all {sum(dropped.values())} rows were dropped ({reasons}). {advice}"
