"""`grao references`: prompts → prompts with references."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grao_pipeline.contract import Row
from grao_pipeline.fingerprints import prompt_fingerprint, stage_fingerprint
from grao_pipeline.messages import plain_messages
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.build import ROWS_PER_PART
from grao_pipeline.prompts.reward_history import open_history, refuse_rewritten_history
from grao_pipeline.references.found import Reference, References, best_samples, table_references
from grao_pipeline.references.options import ReferencesOptions
from grao_pipeline.references.teacher import ask_teacher, teacher_fingerprints
from grao_pipeline.schemas import PROMPTS
from grao_pipeline.storage.input_content import input_content
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from grao_pipeline.storage.writer import TableWriter


@dataclass
class ReferencesSummary:
    """What became of every prompt. `written + already_there + sum(not_found.values()) == prompts`.

    Attributes:
        not_found: prompts that stay without a new reference, by the reason.
        duplicates: rows that are equal to an earlier one now, and left out.
        ambiguous: prompts with several references in --from; the first counts.
        mean_reward: of the written references, where they have rewards.
        teacher_tokens: tokens that the teacher sampled in this run.
    """

    prompts: int = 0
    written: int = 0
    already_there: int = 0
    not_found: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    ambiguous: int = 0
    mean_reward: float | None = None
    teacher_tokens: int = 0
    parts_made: int = 0
    parts_found: int = 0
    fingerprint: str = ""


def references_provenance(options: ReferencesOptions, prompts_fingerprint: str) -> Provenance:
    """The identity of the prompts with their references; known before a teacher is asked."""
    inputs: dict[str, Any] = {"prompts": prompts_fingerprint}
    details: dict[str, Any] = {}
    if options.groups is not None and options.scores is not None:
        [pair] = open_history([(options.groups, options.scores)])
        inputs["groups"], inputs["scores"] = pair.fingerprints
        details = input_content([pair.companion])
    elif options.from_ is not None:
        inputs["from"] = open_table(options.from_, "prompts").fingerprint
    else:
        inputs |= {f"teacher_{name}": key for name, key in teacher_fingerprints(options, prompts_fingerprint).items()}
    shaping = {"overwrite_references": options.overwrite_references, "min_reward": options.min_reward}
    return Provenance("prompts", stage_fingerprint("references", shaping, inputs), shaping, inputs, details)


def write_references(
    prompts_url: str, out: str, options: ReferencesOptions, progress: Progress = SILENT
) -> ReferencesSummary:
    """Write the prompts with references to the table OUT; a prompt without a new one stays as it is.

    The reference is part of a prompt's identity: a prompt with a new reference has a new `prompt_id`.

    Example:
        options = ReferencesOptions(model="models/base", engine="transformers", max_new_tokens=16)
        write_references("data/train", "data/with-references", options)

    Raises:
        UsageError: an option cannot work.
        InputError: a table cannot be read.
        MismatchError: groups and scores do not belong together, or OUT holds another table.
        StageFailure: the teacher's engine or server failed; the same command resumes.
    """
    prompts = open_table(prompts_url, "prompts")
    provenance = references_provenance(options, prompts.fingerprint)
    refuse_rewritten_history(out, provenance)
    rows = prompts.arrow().to_pylist()
    summary = ReferencesSummary(prompts=len(rows), fingerprint=provenance.fingerprint)
    wanting = [row for row in rows if options.overwrite_references or row["reference"] is None]
    references = _references(prompts, wanting, out, options, summary, progress)
    summary.ambiguous = references.ambiguous
    new_rows = _with_references(rows, references, options.overwrite_references, summary)
    writer = TableWriter(out, provenance, max(1, -(-len(new_rows) // ROWS_PER_PART)), progress)
    summary.parts_found = writer.num_committed
    for index in writer.missing():
        part = new_rows[index * ROWS_PER_PART : (index + 1) * ROWS_PER_PART]
        writer.write(index, rows_to_arrow(part, PROMPTS.arrow()))
        summary.parts_made += 1
    writer.finish()
    return summary


def _references(
    prompts: TableReader,
    wanting: Sequence[Row],
    out: str,
    options: ReferencesOptions,
    summary: ReferencesSummary,
    progress: Progress,
) -> References:
    """The references for these prompts, from where the options say."""
    if not wanting:
        return References()
    if options.from_ is not None:
        return table_references(open_table(options.from_, "prompts"))
    groups_url, scores_url = options.groups, options.scores
    if groups_url is None:
        groups_url, scores_url, sampled = ask_teacher(wanting, out, options, prompts.fingerprint, progress)
        summary.teacher_tokens = sampled.tokens
    pair = None if scores_url is None else open_history([(groups_url, scores_url)])[0]
    return best_samples(open_table(groups_url, "groups"), pair, options.min_reward)


def _with_references(
    rows: Sequence[Row], references: References, overwrite: bool, summary: ReferencesSummary
) -> list[Row]:
    """The rows of the new table, in the old order."""
    new_rows: dict[str, Row] = {}
    not_found: Counter[str] = Counter()
    rewards: list[float] = []
    for row in rows:
        reference = references.of(row) if overwrite or row["reference"] is None else None
        if reference is not None:
            summary.written += 1
            rewards += [] if reference.reward is None else [reference.reward]
            row = _with_reference(row, reference)
        elif row["reference"] is not None and not overwrite:
            summary.already_there += 1
        else:
            not_found[references.reason(row)] += 1
        summary.duplicates += row["prompt_id"] in new_rows
        new_rows.setdefault(row["prompt_id"], row)
    summary.not_found = dict(sorted(not_found.items()))
    summary.mean_reward = sum(rewards) / len(rewards) if rewards else None
    return list(new_rows.values())


def _with_reference(row: Row, reference: Reference) -> Row:
    """A prompt with its new reference, and the identity that follows from it."""
    prompt_id = prompt_fingerprint(
        plain_messages(row["messages"]),
        reference.text,
        row["rejected"],
        row["metadata"],
        row["tools"],
        reference.reasoning,
    )
    return {**row, "prompt_id": prompt_id, "reference": reference.text, "reference_reasoning": reference.reasoning}
