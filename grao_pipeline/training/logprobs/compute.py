"""`grao logprobs`: one forward pass over groups, each prompt once for all its samples and the reference."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import torch

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.models.source import ModelSource, load_config, locate_model
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.schemas import LOGPROBS
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from grao_pipeline.storage.writer import TableWriter
from grao_pipeline.training.data.groups import check_group
from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence, micro_batches
from grao_pipeline.training.logprobs.options import LogprobsOptions
from grao_pipeline.training.logprobs.planning import logprobs_provenance
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.loading import load_policy
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.model.self_check import check_policy
from grao_pipeline.training.options import TrainOptions

COLUMNS = ["group_id", "prompt_token_ids", "reference_token_ids", "completion_token_ids"]
REFERENCE = -1


@dataclass
class LogprobsSummary:
    """What was computed, earlier runs included; tokens and times are of this run.

    Attributes:
        tokens: that the model processed, a prompt counted once for all sequences of its group in a pass.
        unshared_tokens: the same with the prompt repeated for every sequence.
    """

    groups: int = 0
    samples: int = 0
    references: int = 0
    parts_made: int = 0
    parts_found: int = 0
    tokens: int = 0
    unshared_tokens: int = 0
    seconds: float = 0.0
    device: str = ""
    """Of this run, what `auto` became."""
    fingerprint: str = ""


def compute_logprobs(
    groups_url: str, out: str, options: LogprobsOptions, progress: Progress = SILENT
) -> LogprobsSummary:
    """Write the log-prob of every token of samples and references under a model, in nats at temperature 1.

    Example: `compute_logprobs("runs/groups", "runs/ref", LogprobsOptions(model="models/base"))`

    Raises:
        InputError: the groups have no tokens, or they do not fit the model.
        MismatchError: `out` holds a table with another fingerprint.
        StageFailure: out of memory.
    """
    groups = open_table(groups_url, "groups")
    source = locate_model(options.model)
    provenance = logprobs_provenance(options, groups.fingerprint, source)
    writer = TableWriter(out, provenance, groups.num_parts, progress)
    writer.discard_changed_parts(groups)
    summary = LogprobsSummary(parts_found=writer.num_committed, fingerprint=provenance.fingerprint)
    started = time.perf_counter()
    summary.device = resolve_device(options.device)
    pass_ = _Pass(options, source, summary)
    bar = progress.track("computing log-probs", groups.num_rows, "groups", writer.num_committed_rows)
    with bar:
        for index in range(groups.num_parts):
            rows = groups.part(index, COLUMNS).to_pylist()
            summary.groups += len(rows)
            summary.samples += sum(len(row["completion_token_ids"]) for row in rows)
            summary.references += sum(row["reference_token_ids"] is not None for row in rows)
            if index in writer.missing():
                writer.write(index, rows_to_arrow(pass_.rows(rows, progress), LOGPROBS.arrow()))
                summary.parts_made += 1
                bar.advance(len(rows))
    writer.finish()
    summary.seconds = time.perf_counter() - started
    return summary


@dataclass
class _Computed:
    """Of a sequence, by token."""

    logprobs: list[float] = field(default_factory=list)
    top_ids: list[list[int]] = field(default_factory=list)
    top_logprobs: list[list[float]] = field(default_factory=list)


class _Pass:
    """The model, loaded with the first part."""

    def __init__(self, options: LogprobsOptions, source: ModelSource, summary: LogprobsSummary) -> None:
        self._options = options
        self._source = source
        self._summary = summary
        self._policy: Policy | None = None
        self._device = torch.device(summary.device)

    def rows(self, rows: list[Row], progress: Progress) -> list[Row]:
        """The rows of the table for those of a part of the groups."""
        config = load_config(self._source).get_text_config()
        context = getattr(config, "max_position_embeddings", None)
        if self._options.top_k > int(config.vocab_size):
            raise UsageError(
                f"{self._options.top_k} is more than the {config.vocab_size} tokens of {self._options.model}.",
                option="top_k",
            )
        groups = [TrainingGroup(row["group_id"], list(_sequences(row))) for row in rows]
        for group in groups:
            check_group(group, int(config.vocab_size), context)
        if self._policy is None and any(group.sequences for group in groups):
            self._policy = self._load(groups, progress)
        values: dict[tuple[str, int], _Computed] = {}
        present = [group for group in groups if group.sequences]
        for sequences in micro_batches(present, self._options.tokens_per_batch):
            values |= self._values(sequences)
        return [self._row(row, values) for row in rows]

    def _row(self, row: Row, values: dict[tuple[str, int], _Computed]) -> Row:
        numbers = range(len(row["completion_token_ids"]))
        samples = [values.get((row["group_id"], number), _Computed()) for number in numbers]
        reference = values.get((row["group_id"], REFERENCE))
        computed = {
            "group_id": row["group_id"],
            "sample_logprobs": [sample.logprobs for sample in samples],
            "reference_logprobs": None if reference is None else reference.logprobs,
            "policy": self._source.fingerprint,
        }
        if self._options.top_k:
            computed |= {
                "sample_top_ids": [sample.top_ids for sample in samples],
                "sample_top_logprobs": [sample.top_logprobs for sample in samples],
                "reference_top_ids": None if reference is None else reference.top_ids,
                "reference_top_logprobs": None if reference is None else reference.top_logprobs,
            }
        return computed

    def _values(self, sequences: list[TrainingSequence]) -> dict[tuple[str, int], _Computed]:
        assert self._policy is not None
        batch = pack(sequences, self._device)
        self._summary.tokens += batch.num_tokens
        self._summary.unshared_tokens += batch.num_unshared_tokens
        is_half = self._options.dtype == "bfloat16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=is_half):
            top = self._options.top_k
            computed = self._policy.top_logprobs(batch, top) if top else (self._policy.logprobs(batch),)
        by_token = [values.tolist() for values in computed]
        bounds = pairwise(accumulate([0, *batch.lengths.tolist()]))
        return {
            (sequence.group_id, sequence.origin): _Computed(*(values[start:end] for values in by_token))
            for sequence, (start, end) in zip(sequences, bounds, strict=True)
        }

    def _load(self, groups: list[TrainingGroup], progress: Progress) -> Policy:
        options = self._options
        ranks = Ranks(0, 1, self._device, is_sharded=False)
        chosen = TrainOptions(model=options.model, dtype=options.dtype, attention=options.attention)
        with progress.track(f"loading {options.model}"):
            policy, _ = load_policy(self._source, chosen, ranks)
        first = [sequence for group in groups for sequence in group.sequences[:2]][:4]
        is_half = options.dtype == "bfloat16"
        check_policy(policy, first, progress, options.attention != "auto", self._device, is_half)
        return policy


def _sequences(row: Row) -> Iterator[TrainingSequence]:
    """The samples and the reference, all their tokens; `origin` is the number of the sample."""
    numbered = [*enumerate(row["completion_token_ids"]), (REFERENCE, row["reference_token_ids"])]
    for number, ids in numbered:
        if ids:
            yield TrainingSequence(
                row["prompt_token_ids"], ids, 0.0, number == REFERENCE, 1, 0.0, False, None, None,
                group_id=row["group_id"], origin=number,
            )  # fmt: skip
    if not any(ids for _, ids in numbered) and row["completion_token_ids"]:
        raise InputError(f"Group {row['group_id']} has no tokens. Import it again with --tokenizer MODEL.")
