"""The verb `import`: prompts with responses from elsewhere → groups, and their rewards, if any → scores."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint
from grao_pipeline.importing.batch_files import BatchRequests
from grao_pipeline.importing.encoder import Encoder, PlainEncoder
from grao_pipeline.importing.ledger import GroupLedger
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.importing.rows import POLICY
from grao_pipeline.importing.summary import ImportSummary, notes_on
from grao_pipeline.models.templates import read_template
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.base import Row
from grao_pipeline.prompts.intake import Intake, holds_table, take_in
from grao_pipeline.schemas import GROUPS, SCORES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from grao_pipeline.storage.writer import TableWriter

NO_REWARD = "the source has no reward for it"


def import_groups(source: str, out: str, options: ImportOptions, progress: Progress = SILENT) -> ImportSummary:
    """Write the groups of `source` to OUT/groups, and their rewards, where there are any, to OUT/scores.

    Example:
        import_groups("responses.jsonl", "runs/imported", ImportOptions())

    Without a tokenizer, groups of texts have no token IDs: they can be scored, compared and inspected, and their
    advantages can be computed, but they cannot be trained on.

    Args:
        source: a hub dataset, or a local JSONL, JSON, CSV, Parquet or Arrow file, or a directory of such files.

    Raises:
        InputError: the source cannot be read, or yields no group.
        UsageError: the options do not fit the source's columns, or each other.
        MismatchError: OUT holds another table.
    """
    if holds_table(out):  # a table must not lie inside a table
        raise MismatchError(f"{out} already holds a table; an import writes {out}/groups. Choose another directory.")
    tokenizer = None if options.tokenizer is None else Encoder(options.tokenizer, options)
    if tokenizer is None:
        for name in ("chat_template", "template_arg", "template_date", "reference_reasoning"):
            if name in options.given():
                raise UsageError("has an effect only together with --tokenizer.", option=name)
    requests = None if options.batch_input is None else BatchRequests(options.batch_input, progress)
    ledger = GroupLedger(tokenizer or PlainEncoder(), tuple(options.group_by), requests)
    intake = take_in(source, options, ledger, progress)
    table = ledger.table()
    num_parts = -(-table.num_rows // options.prompts_per_part)
    groups = _groups_provenance(intake, options, tokenizer, requests)
    writer = TableWriter(f"{out.rstrip('/')}/groups", groups, num_parts, progress)
    outputs = [_Output(writer, GROUPS.arrow(), _group_row)]
    if ledger.counts.has_rewards:
        scores = _scores_provenance(options, groups)
        writer = TableWriter(f"{out.rstrip('/')}/scores", scores, num_parts, progress)
        outputs.append(_Output(writer, SCORES.arrow(), _score_row))
    summary = _summary(intake, ledger, table.num_rows, tokenizer)
    summary.fingerprint = groups.fingerprint
    summary.tables = {output.writer.url: table.num_rows for output in outputs}
    summary.parts_found = sum(output.writer.num_committed for output in outputs)
    with progress.track("writing", num_parts * len(outputs), "parts", summary.parts_found) as bar:
        for output in outputs:
            for index in output.writer.missing():
                rows = table.slice(index * options.prompts_per_part, options.prompts_per_part).to_pylist()
                converted = [output.convert(row) for row in rows]
                output.writer.write(index, rows_to_arrow(converted, output.schema))
                summary.parts_made += 1
                bar.log(f"{output.writer.url}: part {index} committed")
                bar.advance()
            output.writer.finish()
    return summary


@dataclass(frozen=True)
class _Output:
    """One of the tables that an import writes.

    Attributes:
        convert: a row of the ledger → a row of the table.
    """

    writer: TableWriter
    schema: pa.Schema
    convert: Callable[[Row], Row]


def _summary(intake: Intake, ledger: GroupLedger, groups: int, tokenizer: Encoder | None) -> ImportSummary:
    counts = ledger.counts
    thoughts: Counter[str] = Counter() if tokenizer is None else tokenizer.thoughts
    return ImportSummary(
        read=intake.num_read,
        groups=groups,
        samples=counts.samples,
        references=counts.references,
        rewards=counts.rewards,
        rows=ledger.layout.kind,
        dropped=intake.dropped,
        read_as=ledger.layout.read_as,
        lost=dict(counts.lost),
        finish_reasons=dict(counts.finish_reasons),
        sampled_tokens=counts.sampled_tokens,
        context_tokens=counts.context_tokens,
        tokenized=tokenizer is not None,
        references_without_reasoning=thoughts["references missing"],
        references_without_answer=thoughts["references unfinished"],
        responses_without_reasoning=thoughts["responses missing"],
        notes=list(notes_on(counts, ledger.layout, thoughts, groups, tokenizer is not None)),
    )


def _group_row(row: Row) -> Row:
    return {column.name: row[column.name] for column in GROUPS.columns}


def _score_row(row: Row) -> Row:
    return {
        **{name: row[name] for name in ("group_id", "rewards", "reference_reward")},
        "statuses": ["error" if reward is None else "ok" for reward in row["rewards"]],
        "details": [NO_REWARD if reward is None else None for reward in row["rewards"]],
    }


def _groups_provenance(
    intake: Intake, options: ImportOptions, tokenizer: Encoder | None, requests: BatchRequests | None
) -> Provenance:
    content = options.content() | {"chat_template": fingerprint(read_template(options.chat_template))}
    del content["name"]  # of the reward: groups do not depend on it
    inputs: dict[str, Any] = {"source": intake.fingerprint}
    if requests is not None:
        inputs["batch_input"] = requests.fingerprint
    if tokenizer is not None:
        inputs |= {"tokenizer": tokenizer.fingerprint, "stop_token_ids": tokenizer.declared_stops}
    details: dict[str, Any] = {**intake.details(), "policy": POLICY, "chat_template": None}
    if tokenizer is not None:
        details |= {"chat_template": tokenizer.prompts.template, **tokenizer.prompts.settings.details()}
        details |= {"reasoning_marks": tokenizer.prompts.mark_texts}
    return Provenance("groups", stage_fingerprint("import", content, inputs), content, inputs, details)


def _scores_provenance(options: ImportOptions, groups: Provenance) -> Provenance:
    content = {"reward": POLICY, "name": options.name}
    inputs = {"groups": groups.fingerprint}
    return Provenance("scores", stage_fingerprint("import", content, inputs), content, inputs)
