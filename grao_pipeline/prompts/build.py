"""The verb `prompts`: any dataset → the prompts table, with an account of every row."""

from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.formats.detect import choose_format
from grao_pipeline.prompts.ledger import Ledger, write_rejects
from grao_pipeline.prompts.mapping import check_mapping, parse_mapping
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.sources import read_rows
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import MANIFEST, Provenance
from grao_pipeline.storage.writer import TableWriter

ROWS_PER_PART = 10_000
# The columns and the format are found from the first rows; a source may be far larger than memory.
SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class PromptsSummary:
    """What `build_prompts` did. `kept + sum(dropped.values()) == read`, always.

    Attributes:
        dropped: number of rows by reason, the most frequent first; exact duplicates are one of the reasons.
        tables: rows of each table, by its path.
        format: the format that was applied.
        cached: the tables were already there, complete; nothing was written.
    """

    read: int
    kept: int
    dropped: dict[str, int]
    tables: dict[str, int]
    format: str
    cached: bool


def build_prompts(source: str, out: str, options: PromptsOptions, progress: Progress = SILENT) -> PromptsSummary:
    """Write the prompts of `source` to the table OUT, or to OUT/train and OUT/eval where some are held out.

    Args:
        source: a hub dataset, or a local JSONL, JSON, CSV, Parquet or Arrow file, or a directory of such.
        progress: told what a person should know, e.g. that a damaged part is made again.

    Raises:
        InputError: the source cannot be read, or yields no prompt.
        UsageError: the options do not fit the source's columns.
        MismatchError: OUT holds other work.
    """
    ledger = _read(source, options, progress)
    if options.rejects is not None:
        write_rejects(options.rejects, ledger.rejects)
    if not ledger.kept:
        raise InputError(_nothing_kept(source, ledger, options.rejects))
    tables = _tables(out, ledger, options.eval_fraction)
    writers = {}
    for url, (output, table) in tables.items():
        provenance = _provenance(source, output, ledger, options)
        num_parts = max(1, -(-table.num_rows // ROWS_PER_PART))  # an empty table still shows its columns
        writers[url] = TableWriter(url, provenance, num_parts, progress)
    cached = all(writer.was_complete for writer in writers.values())
    for url, writer in writers.items():
        for index in writer.missing():
            writer.write(index, tables[url][1].slice(index * ROWS_PER_PART, ROWS_PER_PART))
        writer.finish()
    return PromptsSummary(
        read=ledger.read,
        kept=ledger.kept,
        dropped=ledger.dropped_by_reason(),
        tables={url: table.num_rows for url, (_, table) in tables.items()},
        format=ledger.format.name,
        cached=cached,
    )


def _read(source: str, options: PromptsOptions, progress: Progress) -> Ledger:
    mapping = parse_mapping(options.map)
    with closing(read_rows(source, options.split, options.subset, progress)) as all_rows:
        rows = islice(all_rows, options.limit)
        head = list(islice(rows, SAMPLE_ROWS))
        if not head:
            raise InputError(f"{source} has no rows.")
        columns = list(dict.fromkeys(name for row in head for name in row))
        check_mapping(mapping, columns)
        fields = [mapping.get(name, name) for name in columns]
        renamed = ({mapping.get(name, name): value for name, value in row.items()} for row in head)
        ledger = Ledger(
            format=choose_format(options.format, fields, renamed),
            blank=dict.fromkeys(columns),
            mapping=mapping,
            system=options.system,
            eval_fraction=options.eval_fraction,
            keep_rejects=options.rejects is not None,
        )
        with progress.track("reading rows", options.limit, "rows") as bar:
            for row in chain(head, rows):
                ledger.take(row)
                bar.advance(1, dropped=ledger.dropped.total())
    return ledger


def _tables(out: str, ledger: Ledger, eval_fraction: float) -> dict[str, tuple[str, pa.Table]]:
    """Path → (which output it is, its rows).

    Raises:
        MismatchError: OUT was made with the other layout; a table must not lie inside a table.
    """
    inside = {f"{out.rstrip('/')}/{side}": (side, ledger.table(side == "eval")) for side in ("train", "eval")}
    for url in inside if eval_fraction == 0 else [out]:
        if any(name == MANIFEST or name.endswith(".parquet") for name in Directory(url).names()):
            raise MismatchError(
                f"{url} already holds a table that was made with another --eval-fraction. "
                "Choose another output directory, or delete this one."
            )
    return {out: ("all", ledger.table(held_out=False))} if eval_fraction == 0 else inside


def _provenance(source: str, output: str, ledger: Ledger, options: PromptsOptions) -> Provenance:
    content: dict[str, Any] = {**options.content(), "format": ledger.format.name, "output": output}
    inputs = {"source": ledger.source_fingerprint()}
    # The name alone: the same rows in another place are the same work, and must give the same bytes.
    name = Path(source).name if Path(source).expanduser().exists() else source
    details = {"source": name, "read": ledger.read, "dropped": ledger.dropped_by_reason()}
    return Provenance("prompts", stage_fingerprint("prompts", content, inputs), content, inputs, details)


def _nothing_kept(source: str, ledger: Ledger, rejects: str | None) -> str:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in ledger.dropped_by_reason().items())
    look = f"They are in {rejects}." if rejects else "See them with --rejects FILE."
    return (
        f"{source} yields no prompt: all {ledger.read} rows were dropped as format '{ledger.format.name}' "
        f"({reasons}). {look}"
    )
