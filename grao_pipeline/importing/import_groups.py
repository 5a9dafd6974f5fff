"""The verb `import`: prompts with responses from elsewhere → groups, and their rewards, if any → scores."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from grao_pipeline import notes
from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint, tokenizer_fingerprint
from grao_pipeline.importing.ledger import GroupLedger
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.importing.rows import POLICY
from grao_pipeline.models.chat import Continuation, PromptTokenizer, declared_stop_token_ids, stop_token_ids
from grao_pipeline.models.source import ModelSource, load_tokenizer, locate_model
from grao_pipeline.models.templates import RefusedConversation, TemplateSettings, read_template
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
    references_without_reasoning: int = 0
    """Of a model that reasons; not trained on, unless --reference-reasoning says how."""
    references_without_answer: int = 0
    """Their reasoning never ends; not trained on."""
    responses_without_reasoning: int = 0
    """Of a model that reasons; their token ids have an empty, closed thought."""
    parts_made: int = 0
    parts_found: int = 0
    fingerprint: str = ""
    """Of the groups."""
    notes: list[str] = field(default_factory=list)


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
    if tokenizer is None:
        for name in ("chat_template", "template_arg", "template_date", "reference_reasoning"):
            if name in options.given():
                raise UsageError("has an effect only together with --tokenizer.", option=name)
    ledger = GroupLedger()
    intake = take_in(source, options, ledger, progress)
    table = ledger.table()
    num_parts = -(-table.num_rows // options.prompts_per_part)
    groups = _groups_provenance(intake, options, tokenizer)
    writer = TableWriter(f"{out.rstrip('/')}/groups", groups, num_parts, progress)
    counts: Counter[str] = Counter()
    outputs = [_Output(writer, GROUPS.arrow(), lambda row: _group_row(row, tokenizer, counts))]
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
    summary.notes = [
        *notes.references(summary.references, summary.groups),
        *notes.no_tokens(summary.tokenized),
        *(notes.unscored(summary.samples - summary.rewards, summary.samples) if ledger.has_rewards else ()),
    ]
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
    summary.references_without_reasoning = counts["references missing"]
    summary.references_without_answer = counts["references unfinished"]
    summary.responses_without_reasoning = counts["responses missing"]
    if summary.references_without_reasoning or summary.responses_without_reasoning:
        progress.warn(
            f"{summary.references_without_reasoning:,} references and {summary.responses_without_reasoning:,} "
            "responses have no reasoning, but the model reasons. Such responses are trained on after an empty thought; "
            "such references are not trained on, unless --reference-reasoning says how. Turn thinking off with "
            "--template-arg where they were written without."
        )
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
        settings = TemplateSettings.parse(options.template_arg, options.template_date)
        tokenizer = load_tokenizer(source)
        self.fingerprint = source.tokenizer
        self.declared_stops = declared_stop_token_ids(source.directory)
        stops = stop_token_ids(tokenizer, source.directory)
        self.prompts = PromptTokenizer(tokenizer, stops, read_template(options.chat_template), settings)
        self._reference_reasoning = options.reference_reasoning

    def columns(self, row: Row, counts: Counter[str]) -> Row:
        """The columns of token ids, and of reasoning and answers.

        Args:
            counts: counts references and responses by what became of their reasoning.

        Raises:
            RefusedConversation: the chat template fails on the row; the message names it.
        """
        tools = row.get("tools")

        def continuation(text: str, reasoning: str | None = None) -> Continuation:
            is_empty = self._reference_reasoning != "none"
            return self.prompts.continuation(row["messages"], text, reasoning, tools, empty_thought=is_empty)

        try:
            prompt = self.prompts.prompt(row["messages"], tools)
            responses = [continuation(text) for text in row["completions"]]
            reference = (
                None if row["reference"] is None else continuation(row["reference"], row.get("reference_reasoning"))
            )
        except RefusedConversation as error:
            raise RefusedConversation(f"Prompt {row['prompt_id']}: {error}") from error
        counts.update(f"responses {response.thought}" for response in responses)
        if reference is not None:
            counts[f"references {reference.thought}"] += 1
            left_out = ("unfinished", "missing") if self._reference_reasoning == "required" else ("unfinished",)
            reference = None if reference.thought in left_out else reference
        return {
            "prompt_token_ids": prompt,
            "reference_token_ids": None if reference is None else reference.token_ids,
            "completion_token_ids": [response.token_ids for response in responses],
            **self.prompts.split_columns([], row["completions"]),
            "retokenized": True,
        }


def _group_row(row: Row, tokenizer: _Tokenizer | None, counts: Counter[str]) -> Row:
    completions: list[str] = row["completions"]
    group = {
        **row,
        "prompt_token_ids": [],
        "reference_token_ids": None if row["reference"] is None else [],  # no reference, or unknown ids
        "completion_token_ids": [[] for _ in completions],
        "completion_logprobs": None,
        "finish_reasons": ["stop"] * len(completions),
        "policy": POLICY,
        "round": 0,
        "retokenized": None,
    }
    return group if tokenizer is None else {**group, **tokenizer.columns(row, counts)}


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
    details: dict[str, Any] = {**intake.details(), "policy": POLICY, "chat_template": None}
    if tokenizer is not None:
        details |= {"chat_template": tokenizer.prompts.template, **tokenizer.prompts.settings.details()}
        details |= {"reasoning_marks": tokenizer.prompts.mark_texts}
    return Provenance("groups", stage_fingerprint("import", content, inputs), content, inputs, details)


def _scores_provenance(options: ImportOptions, groups: Provenance) -> Provenance:
    content = {"reward": POLICY, "name": options.name}
    inputs = {"groups": groups.fingerprint}
    return Provenance("scores", stage_fingerprint("import", content, inputs), content, inputs)
