"""The verb `import`: prompts with responses from elsewhere → groups, and their rewards, if any → scores."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint, tokenizer_fingerprint
from grao_pipeline.importing.ledger import GroupLedger
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.importing.rows import POLICY
from grao_pipeline.models.chat import (
    PromptTokenizer,
    declared_stop_token_ids,
    read_template,
    stop_token_ids,
)
from grao_pipeline.models.source import ModelSource, load_tokenizer, locate_model
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.base import Row
from grao_pipeline.prompts.intake import Intake, holds_table, take_in
from grao_pipeline.schemas import GROUPS, SCORES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter

NO_REWARD = "the source has no reward for it"


@dataclass
class ImportSummary:
    """What an import did. `groups + sum(dropped.values()) == read`, always.

    Parts are those of both tables together.
    """

    read: int = 0
    groups: int = 0
    samples: int = 0
    references: int = 0
    rewards: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    """Number of rows of each table, by its path."""
    tokenized: bool = False
    parts_made: int = 0
    parts_found: int = 0
    fingerprint: str = ""
    """Of the groups."""


def import_groups(source: str, out: str, options: ImportOptions, progress: Progress = SILENT) -> ImportSummary:
    """Write the groups of `source` to OUT/groups, and their rewards, where there are any, to OUT/scores.

    Example:
        import_groups("responses.jsonl", "runs/imported", ImportOptions())

    Without a tokenizer the groups have texts and no token ids: they can be scored, compared and inspected, and their
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
    tokenizer = _Tokenizer(options) if options.tokenizer is not None else None
    if tokenizer is None and options.chat_template is not None:
        raise UsageError("has an effect only together with --tokenizer.", option="chat_template")
    ledger = GroupLedger()
    intake = take_in(source, options, ledger, progress)
    table = ledger.table()
    num_parts = -(-table.num_rows // options.prompts_per_part)
    groups = _groups_provenance(intake, options, tokenizer)
    writer = TableWriter(f"{out.rstrip('/')}/groups", groups, num_parts, progress)
    outputs = [_Output(writer, GROUPS.arrow(), lambda row: _group_row(row, tokenizer))]
    if ledger.has_rewards:
        scores = _scores_provenance(options, groups)
        writer = TableWriter(f"{out.rstrip('/')}/scores", scores, num_parts, progress)
        outputs.append(_Output(writer, SCORES.arrow(), _score_row))
    summary = ImportSummary(
        read=intake.num_read,
        groups=table.num_rows,
        samples=ledger.num_samples,
        references=table.num_rows - table.column("reference").null_count,
        rewards=ledger.num_rewards,
        dropped=intake.dropped,
        tables={output.writer.url: table.num_rows for output in outputs},
        tokenized=tokenizer is not None,
        parts_found=sum(output.writer.num_committed for output in outputs),
        fingerprint=groups.fingerprint,
    )
    with progress.track("writing", num_parts * len(outputs), "parts", summary.parts_found) as bar:
        for output in outputs:
            for index in output.writer.missing():
                rows = table.slice(index * options.prompts_per_part, options.prompts_per_part).to_pylist()
                converted = [output.convert(row) for row in rows]
                output.writer.write(index, pa.Table.from_pylist(converted, schema=output.schema))
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


class _Tokenizer:
    """The tokenizer that the options name, and what identifies it."""

    def __init__(self, options: ImportOptions) -> None:
        assert options.tokenizer is not None
        directory = Path(options.tokenizer)
        if directory.is_dir():  # a tokenizer can be used without the model's weights
            source = ModelSource(directory, "", tokenizer_fingerprint(directory))
        else:
            source = locate_model(options.tokenizer)
        tokenizer = load_tokenizer(source)
        self.fingerprint = source.tokenizer
        self.declared_stops = declared_stop_token_ids(source.directory)
        stops = stop_token_ids(tokenizer, source.directory)
        self.prompts = PromptTokenizer(tokenizer, stops, read_template(options.chat_template))


def _group_row(row: Row, tokenizer: _Tokenizer | None) -> Row:
    completions: list[str] = row["completions"]
    messages, reference = row["messages"], row["reference"]
    group = {
        **row,
        "prompt_token_ids": [],
        "reference_token_ids": None if reference is None else [],  # no reference, or unknown ids
        "completion_token_ids": [[] for _ in completions],
        "completion_logprobs": None,
        "finish_reasons": ["stop"] * len(completions),
        "policy": POLICY,
        "round": 0,
        "retokenized": None,
    }
    if tokenizer is None:
        return group
    encode = tokenizer.prompts
    return group | {
        "prompt_token_ids": encode.prompt(messages),
        "reference_token_ids": None if reference is None else encode.reference(messages, reference),
        "completion_token_ids": [encode.reference(messages, text) for text in completions],
        "retokenized": True,
    }


def _score_row(row: Row) -> Row:
    return {
        **row,
        "statuses": ["error" if reward is None else "ok" for reward in row["rewards"]],
        "details": [NO_REWARD if reward is None else None for reward in row["rewards"]],
    }


def _groups_provenance(intake: Intake, options: ImportOptions, tokenizer: _Tokenizer | None) -> Provenance:
    content = options.content() | {"chat_template": fingerprint(read_template(options.chat_template))}
    del content["name"]  # of the reward: groups do not depend on it
    inputs: dict[str, Any] = {"source": intake.fingerprint}
    if tokenizer is not None:
        inputs |= {"tokenizer": tokenizer.fingerprint, "stop_token_ids": tokenizer.declared_stops}
    template = tokenizer.prompts.template if tokenizer is not None else None
    details = {**intake.details(), "policy": POLICY, "chat_template": template}
    return Provenance("groups", stage_fingerprint("import", content, inputs), content, inputs, details)


def _scores_provenance(options: ImportOptions, groups: Provenance) -> Provenance:
    content = {"reward": POLICY, "name": options.name}
    inputs = {"groups": groups.fingerprint}
    return Provenance("scores", stage_fingerprint("import", content, inputs), content, inputs)
