"""The intake of a source: every row that is read is kept, or dropped for a reason that is counted.

`grao prompts` and `grao import` share it; what a row becomes is their ledgers' business.
"""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import DIGITS
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.base import DroppedRow, Row
from grao_pipeline.prompts.canonical import canonical_json, plain
from grao_pipeline.prompts.mapping import by_field, check_mapping, is_copy, parse_mapping
from grao_pipeline.prompts.options import SourceOptions
from grao_pipeline.prompts.remote import is_url
from grao_pipeline.prompts.sources import open_source
from grao_pipeline.redaction import without_credentials
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import has_manifest, part_files
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow

HEAD_ROWS = 1000
"""The columns are those of the first rows; a source may be far larger than memory."""
ROWS_PER_CHUNK = 1000


NumberedRow = tuple[int, Row]
"""A row and its number in the source."""


class Ledger(Protocol):
    """Keeps what the rows of one source become: `begin` once, `keep` for every row, `finish` once."""

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

    def finish(self) -> Iterable[tuple[int, Row, str]]:
        """The rows that are dropped after all: the number of the call of `keep`, the row and the reason."""
        ...


@dataclass(frozen=True)
class Intake:
    """What was read of a source. What the ledger keeps and `sum(dropped.values())` add up to `num_read`.

    Attributes:
        dropped: number of rows by reason, the most frequent first.
        fingerprint: hash of the rows, independent of the kind of file that they came in.
        split: the split that was read.
        files: the files that were read, as the source names them; empty for a hub dataset.
        other_splits: splits of the source that were not read.
        left_out: data files of a directory that belong to no split.
    """

    source: str
    num_read: int
    dropped: dict[str, int]
    fingerprint: str
    split: str = "train"
    files: tuple[str, ...] = ()
    other_splits: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def details(self) -> dict[str, str | int | dict[str, int]]:
        """For the provenance of the table that the rows become."""
        # The name alone: the same rows in another place must give the same bytes.
        name = Path(self.source).name if Path(self.source).expanduser().exists() else self.source
        return {"source": without_credentials(name), "read": self.num_read, "dropped": self.dropped}


def take_in(source: str, options: SourceOptions, ledger: Ledger, progress: Progress) -> Intake:
    """Show every row of `source` to the ledger, and write the dropped ones to `options.rejects`.

    Raises:
        InputError: the source cannot be read, or every row was dropped.
        UsageError: the options do not fit the source's columns.
    """
    if options.revision is not None:
        if is_url(source) or Path(source).expanduser().exists():
            raise UsageError(f"{source} is not a dataset of the hub: only such a one has revisions.", option="revision")
        source = f"{source}@{options.revision}"
    mapping = parse_mapping(options.map)
    row_hash = hashlib.sha256()
    drops = _Drops(options.rejects is not None)
    numbers: list[int] = []
    with open_source(source, options.split, options.subset, progress) as opened, closing(opened.rows) as all_rows:
        with progress.track(f"opening {source}"):
            rows = _chosen(enumerate(islice(all_rows, options.limit)), options)
            head = list(islice(rows, HEAD_ROWS))
        if not head:
            raise InputError(f"{source} has no rows.")
        columns = {column: mapping.get(column, column) for _, row in head for column in row}
        check_mapping(mapping, list(columns))
        columns |= {column: field for column, field in mapping.items() if is_copy(column, list(columns))}
        ledger.begin(columns, (by_field(row, mapping) for _, row in head))
        with progress.track("reading rows", options.sample or options.limit, "rows") as bar:
            for number, row in chain(head, rows):
                row_hash.update(canonical_json(row).encode("utf-8", "surrogatepass") + b"\n")
                try:
                    ledger.keep(by_field(row, mapping))
                except DroppedRow as reason:
                    drops.add(number, row, str(reason))
                numbers.append(number)
                bar.advance(1, dropped=drops.total())
        for index, row, reason_text in ledger.finish():
            drops.add(numbers[index], row, reason_text)
    if options.rejects is not None:
        drops.write(options.rejects)
    by_reason = drops.by_reason()
    if drops.total() == len(numbers):
        raise InputError(_nothing_kept(source, ledger.product, by_reason, options.rejects))
    return Intake(
        source,
        len(numbers),
        by_reason,
        row_hash.hexdigest()[:DIGITS],
        options.split,
        opened.files,
        opened.other_splits,
        opened.left_out,
    )


class _Drops:
    """The rows that are dropped: counted by reason and, where they are to be written, as JSON."""

    def __init__(self, are_written: bool) -> None:
        self._counts: Counter[str] = Counter()
        self._are_written = are_written
        self._lines: list[tuple[int, str]] = []

    def add(self, number: int, row: Row, reason: str) -> None:
        self._counts[reason] += 1
        if self._are_written:
            entry = {"row": number, "reason": reason, "data": plain(row)}
            self._lines.append((number, json.dumps(entry, ensure_ascii=False)))

    def total(self) -> int:
        return self._counts.total()

    def by_reason(self) -> dict[str, int]:
        return dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))

    def write(self, path: str) -> None:
        """Write the rows, a line each. An unpaired surrogate is written as the JSON escape that spelled it."""
        lines = "".join(f"{line}\n" for _, line in sorted(self._lines))
        parent, name = os.path.split(path)
        Directory(parent or ".").write(name, lines.encode("utf-8", "backslashreplace"))


def _chosen(rows: Iterator[NumberedRow], options: SourceOptions) -> Iterator[NumberedRow]:
    """The rows; with `--sample` a random subset of them in their order.

    Every subset of that size is equally likely (Vitter 1985, algorithm R). The rows must be read to the last one, and
    those of the subset are held in memory.
    """
    if options.sample is None:
        return rows
    generator = random.Random(options.seed)
    subset = list(islice(rows, options.sample))
    for number, row in rows:
        place = generator.randrange(number + 1)
        if place < options.sample:
            subset[place] = (number, row)
    return iter(sorted(subset, key=lambda numbered_row: numbered_row[0]))


class ArrowRows:
    """Rows of one schema, turned to Arrow chunk by chunk: Python's objects take far more memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[Row] = []
        self._chunks: list[pa.Table] = [rows_to_arrow([], schema)]

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_CHUNK:
            self._flush()

    def table(self) -> pa.Table:
        """All rows so far, in order."""
        self._flush()
        return pa.concat_tables(self._chunks)

    def _flush(self) -> None:
        self._chunks.append(rows_to_arrow(self._rows, self._schema))
        self._rows = []


def holds_table(url: str) -> bool:
    """Whether a directory is a table, finished or not; another table must not be written into it."""
    return has_manifest(url) or bool(part_files(Directory(url)))


def _nothing_kept(source: str, product: str, dropped: Mapping[str, int], rejects: str | None) -> str:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in dropped.items())
    advice = f"They are in {rejects}." if rejects else "See them with --rejects FILE."
    return f"{source} yields no {product}: all {sum(dropped.values())} rows were dropped ({reasons}). {advice}"
