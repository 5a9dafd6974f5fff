"""The verb `prompts`: any dataset → the prompts table, with an account of every row."""

from dataclasses import replace

import pyarrow as pa

from grao_pipeline.errors import MismatchError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.plugins import named_source
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.formats import FORMATS
from grao_pipeline.prompts.intake import Intake, holds_table, take_in
from grao_pipeline.prompts.ledger import PromptLedger
from grao_pipeline.prompts.mapping import parse_mapping
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.rewriting import rewrite_source
from grao_pipeline.prompts.summary import PromptsSummary, notes_on
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter

ROWS_PER_PART = 10_000


def build_prompts(source: str, out: str, options: PromptsOptions, progress: Progress = SILENT) -> PromptsSummary:
    """Write the prompts of `source` to the table OUT, or to OUT/train and OUT/eval where some are held out.

    Example:
        build_prompts("questions.jsonl", "data", PromptsOptions(eval_fraction=0.25))

    Args:
        source: a hub dataset, or a JSONL, JSON, CSV, Parquet or Arrow file, or a directory of such files: a local path
            or a URL.

    Raises:
        InputError: the source cannot be read, or yields no prompt.
        UsageError: the options do not fit the source's columns.
        MismatchError: OUT holds another table.
    """
    ledger = PromptLedger(options)
    intake = take_in(source, options, ledger, progress)
    tables = _tables(out, ledger, options.eval_fraction)
    writers = {}
    for url, (output, table) in tables.items():
        num_parts = max(1, -(-table.num_rows // ROWS_PER_PART))  # an empty table still shows its columns
        writers[url] = TableWriter(url, _provenance(output, ledger, intake, options), num_parts, progress)
    cached = all(writer.was_complete for writer in writers.values())
    for url, writer in writers.items():
        for index in writer.missing():
            writer.write(index, tables[url][1].slice(index * ROWS_PER_PART, ROWS_PER_PART))
        writer.finish()
    summary = PromptsSummary(
        read=intake.num_read,
        kept=ledger.num_kept,
        paired=ledger.num_paired,
        dropped=intake.dropped,
        tables={url: table.num_rows for url, (_, table) in tables.items()},
        format=ledger.format.name,
        read_as=dict(ledger.read_as),
        references=ledger.counts["reference"],
        rejected=ledger.counts["rejected"],
        tools=ledger.counts["tools"],
        rewritten=ledger.num_rewritten,
        reasoning=ledger.counts["reference_reasoning"],
        metadata=dict(ledger.metadata),
        lost=dict(ledger.lost),
        split=intake.split,
        files=intake.files,
        other_splits=intake.other_splits,
        left_out=intake.left_out,
        cached=cached,
    )
    return replace(summary, notes=tuple(notes_on(summary, parse_mapping(options.map))))


def _tables(out: str, ledger: PromptLedger, eval_fraction: float) -> dict[str, tuple[str, pa.Table]]:
    """Path → (which output it is, its rows).

    Raises:
        MismatchError: OUT has the other layout; a table must not lie inside a table.
    """
    inside = {f"{out.rstrip('/')}/{side}": (side, ledger.table(side == "eval")) for side in ("train", "eval")}
    for url in inside if eval_fraction == 0 else [out]:
        if holds_table(url):
            raise MismatchError(
                f"{url} already holds a table that was written with another --eval-fraction. "
                "Choose another output directory, or delete this one."
            )
    return {out: ("all", ledger.table(held_out=False))} if eval_fraction == 0 else inside


def _provenance(output: str, ledger: PromptLedger, intake: Intake, options: PromptsOptions) -> Provenance:
    own_source = named_source("format", ledger.format.name, FORMATS) | rewrite_source(options)
    content = {**options.content(), "format": ledger.format.name, "output": output, **own_source}
    inputs = {"source": intake.fingerprint}
    fingerprint = stage_fingerprint("prompts", content, inputs)
    return Provenance("prompts", fingerprint, content, inputs, intake.details())
