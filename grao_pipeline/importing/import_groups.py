"""`grao import`: prompts with responses from elsewhere → groups, and their rewards, where they have some → scores."""

from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint, tokenizer_fingerprint
from grao_pipeline.importing.account import Account
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.importing.rows import POLICY, missing_fields
from grao_pipeline.models.chat import (
    PromptTokenizer,
    declared_stop_token_ids,
    read_template,
    stop_token_ids,
)
from grao_pipeline.models.source import ModelSource, load_tokenizer, locate_model
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.ledger import write_rejects
from grao_pipeline.prompts.mapping import check_mapping, parse_mapping
from grao_pipeline.prompts.sources import read_rows
from grao_pipeline.schemas import GROUPS, SCORES
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import MANIFEST, Provenance
from grao_pipeline.storage.writer import TableWriter

# The columns are found from the first rows; a source may be far larger than memory.
SAMPLE_ROWS = 1000
REWARDLESS = "the source has no reward for it"


@dataclass
class ImportSummary:
    """What an import did. `groups + sum(dropped.values()) == read`, always.

    Parts are counted of all tables together.
    """

    read: int = 0
    groups: int = 0
    samples: int = 0
    references: int = 0
    rewards: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    """Rows of each table, by its path."""
    tokenized: bool = False
    parts_made: int = 0
    parts_found: int = 0
    fingerprint: str = ""
    """Of the groups."""


def import_groups(source: str, out: str, options: ImportOptions, progress: Progress = SILENT) -> ImportSummary:
    """Write the groups of `source` to OUT/groups, and their rewards, where there are any, to OUT/scores.

    Without a tokenizer the groups have texts and no token ids: they can be scored, compared and looked at, and
    advantages be computed, but they cannot be trained on.

    Args:
        source: a hub dataset, or a local JSONL, JSON, CSV, Parquet or Arrow file, or a directory of such.

    Raises:
        InputError: the source cannot be read, or yields no group.
        UsageError: the options do not fit the source's columns, or each other.
        MismatchError: OUT holds other work.
    """
    _refuse_table(out)
    tokenizer = _Tokenizer(options) if options.tokenizer is not None else None
    if tokenizer is None and options.chat_template is not None:
        raise UsageError("--chat-template says how to make token ids: it needs --tokenizer.")
    account = _read(source, options, progress)
    if options.rejects is not None:
        write_rejects(options.rejects, account.rejects)
    kept = account.kept()
    if not kept.num_rows:
        raise InputError(_nothing_kept(source, account, options.rejects))
    num_parts = -(-kept.num_rows // options.prompts_per_part)
    provenance = _groups_provenance(source, account, options, tokenizer)
    groups = TableWriter(f"{out.rstrip('/')}/groups", provenance, num_parts, progress)
    writers = [groups]
    if account.has_rewards:
        scores = _scores_provenance(options, provenance)
        writers.append(TableWriter(f"{out.rstrip('/')}/scores", scores, num_parts, progress))
    summary = ImportSummary(
        read=account.read,
        groups=kept.num_rows,
        samples=account.num_samples,
        references=kept.num_rows - kept.column("reference").null_count,
        rewards=account.num_rewards,
        dropped=account.dropped_by_reason(),
        tables={writer.url: kept.num_rows for writer in writers},
        tokenized=tokenizer is not None,
        parts_found=sum(writer.num_committed for writer in writers),
        fingerprint=provenance.fingerprint,
    )
    with progress.track("writing", num_parts * len(writers), "parts", summary.parts_found) as bar:
        for writer in writers:
            for index in writer.missing():
                rows = kept.slice(index * options.prompts_per_part, options.prompts_per_part).to_pylist()
                make, schema = (_group_row, GROUPS) if writer is groups else (_score_row, SCORES)
                writer.write(index, pa.Table.from_pylist([make(row, tokenizer) for row in rows], schema=schema.arrow()))
                summary.parts_made += 1
                bar.log(f"{writer.url}: part {index} committed")
                bar.advance()
            writer.finish()
    return summary


class _Tokenizer:
    """The tokenizer that the options name, and what identifies it."""

    def __init__(self, options: ImportOptions) -> None:
        assert options.tokenizer is not None
        directory = Path(options.tokenizer)
        if directory.is_dir():  # a tokenizer needs no weights beside it
            source = ModelSource(directory, "", tokenizer_fingerprint(directory))
        else:
            source = locate_model(options.tokenizer)
        tokenizer = load_tokenizer(source)
        self.fingerprint = source.tokenizer
        self.declared_stops = declared_stop_token_ids(source.directory)
        stops = stop_token_ids(tokenizer, source.directory)
        self.prompts = PromptTokenizer(tokenizer, stops, read_template(options.chat_template))


def _read(source: str, options: ImportOptions, progress: Progress) -> Account:
    mapping = parse_mapping(options.map)
    with closing(read_rows(source, options.split, options.subset, progress)) as all_rows:
        rows = islice(all_rows, options.limit)
        head = list(islice(rows, SAMPLE_ROWS))
        if not head:
            raise InputError(f"{source} has no rows.")
        columns = list(dict.fromkeys(name for row in head for name in row))
        check_mapping(mapping, columns)
        missing = missing_fields([mapping.get(name, name) for name in columns])
        if missing:
            raise UsageError(
                f"{source} has no column '{missing[0]}'. It has: {', '.join(columns)}. An import needs prompt (a text "
                "or messages) and responses (a list of texts). Rename columns with --map column=field."
            )
        account = Account(mapping, keep_rejects=options.rejects is not None)
        with progress.track("reading rows", options.limit, "rows") as bar:
            for row in chain(head, rows):
                account.take(row)
                bar.advance(1, dropped=account.dropped.total())
    return account


def _group_row(row: dict[str, Any], tokenizer: _Tokenizer | None) -> dict[str, Any]:
    completions: list[str] = row["completions"]
    messages, reference = row["messages"], row["reference"]
    found = {
        **row,
        "prompt_token_ids": [],
        "reference_token_ids": None if reference is None else [],  # absent and unknown are not the same
        "completion_token_ids": [[] for _ in completions],
        "completion_logprobs": None,
        "finish_reasons": ["stop"] * len(completions),
        "policy": POLICY,
        "round": 0,
        "retokenized": None,
    }
    if tokenizer is not None:
        encode = tokenizer.prompts
        found |= {
            "prompt_token_ids": encode.prompt(messages),
            "reference_token_ids": None if reference is None else encode.reference(messages, reference),
            "completion_token_ids": [encode.reference(messages, text) for text in completions],
            "retokenized": True,
        }
    return found


def _score_row(row: dict[str, Any], _: _Tokenizer | None) -> dict[str, Any]:
    return {
        **row,
        "statuses": ["error" if reward is None else "ok" for reward in row["rewards"]],
        "details": [REWARDLESS if reward is None else None for reward in row["rewards"]],
    }


def _groups_provenance(
    source: str, account: Account, options: ImportOptions, tokenizer: _Tokenizer | None
) -> Provenance:
    content = options.content() | {"chat_template": fingerprint(read_template(options.chat_template))}
    del content["name"]  # of the reward: it is no part of the groups
    inputs: dict[str, Any] = {"source": account.source_fingerprint()}
    if tokenizer is not None:
        inputs |= {"tokenizer": tokenizer.fingerprint, "stop_token_ids": tokenizer.declared_stops}
    # The name alone: the same rows in another place are the same work, and must give the same bytes.
    name = Path(source).name if Path(source).expanduser().exists() else source
    details = {
        "source": name,
        "read": account.read,
        "dropped": account.dropped_by_reason(),
        "policy": POLICY,
        "chat_template": tokenizer.prompts.template if tokenizer is not None else None,
    }
    return Provenance("groups", stage_fingerprint("import", content, inputs), content, inputs, details)


def _scores_provenance(options: ImportOptions, groups: Provenance) -> Provenance:
    content = {"reward": POLICY, "name": options.name}
    inputs = {"groups": groups.fingerprint}
    return Provenance("scores", stage_fingerprint("import", content, inputs), content, inputs)


def _refuse_table(out: str) -> None:
    """A table must not lie inside a table.

    Raises:
        MismatchError: OUT is one.
    """
    if any(name == MANIFEST or name.endswith(".parquet") for name in Directory(out).names()):
        raise MismatchError(f"{out} already holds a table; an import makes {out}/groups. Choose another directory.")


def _nothing_kept(source: str, account: Account, rejects: str | None) -> str:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in account.dropped_by_reason().items())
    look = f"They are in {rejects}." if rejects else "See them with --rejects FILE."
    return f"{source} yields no group: all {account.read} rows were dropped ({reasons}). {look}"
