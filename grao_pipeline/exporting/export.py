"""The verb `export`: groups with their rewards, or prompts → a file of another trainer."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.exporting.base import ExportFormat
from grao_pipeline.exporting.files import check_ending, move_in, new_file, row_writer
from grao_pipeline.exporting.formats import EXPORTS
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Group, read_group
from grao_pipeline.exporting.turn_types import used_types
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.plugins import load
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import has_manifest
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.table_pair import refuse_other_sample_counts


@dataclass
class ExportSummary:
    """What an export wrote.

    Attributes:
        read: rows of the table, by its kind: groups or prompts.
        rows: of the file.
        left_out: how many samples, pairs or prompts are not in the file, by reason.
        labels: number of desirable and undesirable rows, where rows have labels.
        was_complete: OUT held exactly this already.
    """

    read: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    format: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    was_complete: bool = False
    notes: list[str] = field(default_factory=list)


def export_table(table: str, out: str, options: ExportOptions, progress: Progress = SILENT) -> ExportSummary:
    """Write what a table holds as one file, Parquet or JSON lines by its ending.

    Example:
        export_table("runs/groups", "pairs.parquet", ExportOptions(scores="runs/scores"))

    Raises:
        UsageError: an option is wrong, or is needed.
        InputError: a table is not usable, nothing is left to write, or the file cannot be written.
        MismatchError: the tables do not belong together, or OUT holds something else.
    """
    check_ending(out)
    chosen = _format(options)
    reader = open_table(table, None if has_manifest(table) else "groups")
    companion = _companion(reader, chosen, options)
    turns, has_tools = used_types(reader)
    tools = [("tools", pa.string())] if has_tools and "tools" not in dict(chosen.fields(turns)) else []
    schema = pa.schema([*chosen.fields(turns), *(tools if chosen.needs_samples else [])])
    provenance = _provenance(reader, companion, options)
    summary = ExportSummary(
        {reader.schema.name: reader.num_rows}, 0, options.format, fingerprint=provenance.fingerprint
    )
    left_out: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    with new_file(out) as path:
        with (
            row_writer(path, out, schema, provenance.to_json()) as writer,
            progress.track("exporting", reader.num_rows, reader.schema.name) as bar,
        ):
            for groups in _parts(reader, companion):
                rows = [row for group in groups for row in chosen.rows(group, options, left_out)]
                labels.update(_label(row) for row in rows if isinstance(row.get("label"), bool))
                writer.write(rows)
                summary.rows += len(rows)
                bar.advance(len(groups), rows=summary.rows)
        summary.left_out = dict(left_out.most_common())
        if not summary.rows:
            reasons = "; ".join(f"{count:,} × {reason}" for reason, count in left_out.most_common())
            raise InputError(f"{table} yields no row of format '{options.format}' ({reasons or 'it is empty'}).")
        summary.was_complete = move_in(path, out, options.overwrite)
    summary.labels = dict(labels)
    if len(labels) == 1:
        summary.notes.append(
            f"Every row is {next(iter(labels))}: a training on labels needs both kinds. Give another --threshold."
        )
    return summary


def _format(options: ExportOptions) -> ExportFormat:
    chosen = load("export", options.format, EXPORTS, "format")
    if not isinstance(chosen, ExportFormat):
        raise UsageError(f"{options.format} is not an ExportFormat (grao_pipeline.exporting.base).", option="format")
    return chosen


def _companion(reader: TableReader, chosen: ExportFormat, options: ExportOptions) -> TableReader | None:
    """The scores or advantages, opened and held against the groups."""
    kind = "scores" if options.scores is not None else "advantages"
    url = options.scores or options.advantages
    if reader.schema.name not in ("groups", *(() if chosen.needs_samples else ("prompts",))):
        needed = "groups" if chosen.needs_samples else "groups or prompts"
        raise MismatchError(f"{reader.url} is a table of kind '{reader.schema.name}'; this needs {needed}.")
    if url is None:
        if chosen.needs_rewards(options):
            raise UsageError(
                f"'{chosen.name}' needs the rewards of the samples: give --scores or --advantages.", option="format"
            )
        return None
    if reader.schema.name == "prompts":
        raise UsageError("a table of prompts has no samples, and so no rewards.", option=kind)
    companion = open_table(url, kind)
    companion.refuse_other_groups(reader)
    return companion


def _parts(reader: TableReader, companion: TableReader | None) -> Iterator[list[Group]]:
    for index in range(reader.num_parts):
        part = reader.part(index)
        rows: list[Row] = part.to_pylist()
        if reader.schema.name == "prompts":
            yield [read_group({**row, "finish_reasons": []}, {}) for row in rows]
            continue
        companions: list[Mapping[str, Any]] = [{} for _ in rows]
        if companion is not None:
            aligned = companion.aligned_part(part.column("group_id"), index)
            refuse_other_sample_counts(part, aligned, companion.url)
            companions = aligned.to_pylist()
        yield [read_group(row, other) for row, other in zip(rows, companions, strict=True)]


def _provenance(reader: TableReader, companion: TableReader | None, options: ExportOptions) -> Provenance:
    content = options.content()
    inputs = {reader.schema.name: reader.fingerprint}
    if companion is not None:
        inputs[companion.schema.name] = companion.fingerprint
    return Provenance("export", stage_fingerprint("export", content, inputs), content, inputs)


def _label(row: Row) -> str:
    return "desirable" if row["label"] else "undesirable"
