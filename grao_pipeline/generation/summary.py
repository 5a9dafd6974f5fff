"""What a run of `grao generate` did."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline import notes
from grao_pipeline.generation.engines.base import Precision, Sample
from grao_pipeline.schemas import FINISH_REASONS, FinishReason

PART_COLUMNS = ["reference", "reference_token_ids", "completion_token_ids", "finish_reasons", "reasoning", "answers"]
"""Columns of groups that are counted."""
COUNTED_BY_PROCESS = (
    *("parts_made", "groups_recovered", "new_samples", "samples_extended", "new_tokens", "prompts_too_long"),
    *("prompts_clipped", "references_too_long", "references_without_reasoning", "references_without_answer"),
    "reference_reasoning_left_out",
)
"""Counts of what a run did, not of the table."""


@dataclass
class GenerateSummary:
    """Groups, samples, tokens and references are those of the whole table; speeds and prompts are of this run."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    parts_left_to_other_workers: int = 0
    groups_recovered: int = 0
    """Finished groups of unfinished parts, from a run that was stopped."""
    samples: int = 0
    new_samples: int = 0
    """Sampled by this run."""
    samples_extended: int = 0
    """Samples copied from --extend."""
    tokens: int = 0
    tokens_extended: int = 0
    """Of them, tokens of the samples of --extend."""
    tokens_sampled: int = 0
    """All others, by this run or an earlier one."""
    new_tokens: int = 0
    """Sampled by this run."""
    finish_reasons: dict[FinishReason, int] = field(default_factory=lambda: dict.fromkeys(FINISH_REASONS, 0))
    empty_completions: int = 0
    """Samples of one end-of-turn token, whose text is empty."""
    references: int = 0
    references_without_tokens: int = 0
    """References that are scored, but cannot be trained on."""
    prompts_too_long: int = 0
    prompts_clipped: int = 0
    prompts_refused: int = 0
    """Left out, because the chat template fails on them."""
    references_too_long: int = 0
    references_without_reasoning: int = 0
    """Of a model that reasons; not trained on, unless --reference-reasoning says how."""
    references_without_answer: int = 0
    """Their reasoning never ends; not trained on."""
    samples_without_answer: int = 0
    """Their reasoning never ends."""
    reference_reasoning_left_out: int = 0
    """References trained on without their reasoning, since the prompt turns reasoning off."""
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    engine: str = ""
    device: str = ""
    """Of the engine that sampled in this run; empty where a server has the weights."""
    dtype: str = ""
    fingerprint: str = ""
    policy: str = ""
    remarks: list[str] = field(default_factory=list)
    """What the engine says of how it sampled; the notes begin with it."""
    notes: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """Without what other counts say already."""
        return {name: value for name, value in asdict(self).items() if name != "tokens_sampled"}

    def notes_on_references(self, reference_reasoning: str) -> Iterator[str]:
        """What people should know of references and their reasoning.

        Args:
            reference_reasoning: the option of that name.
        """
        if self.references_without_reasoning and reference_reasoning == "required":
            yield (
                f"{self.references_without_reasoning:,} references have no reasoning, but the model reasons: they are "
                "scored, not trained on, since they would teach it to skip its thinking. Give references with <think>…"
                "</think>, turn thinking off (--template-arg enable_thinking=false), or choose --reference-reasoning."
            )
        if self.references_without_answer:
            yield (f"{self.references_without_answer:,} references begin a thought that never ends: not trained on.")
        if self.reference_reasoning_left_out:
            yield (
                f"{self.reference_reasoning_left_out:,} references are trained on without their reasoning, since the "
                "prompts turn the model's thinking off."
            )

    def count(self, samples: Sequence[Sample]) -> None:
        """Add samples of this run and their tokens, for its speed."""
        self.new_samples += len(samples)
        self.new_tokens += sum(len(sample.token_ids) for sample in samples)

    def set_precision(self, precision: Precision | None) -> None:
        """What device and precision the weights had in this run; None where a server has them."""
        if precision is not None:
            self.device, self.dtype = precision.device, precision.dtype

    def add_process(self, summary: Mapping[str, Any]) -> None:
        """Add what another process of this run did.

        Args:
            summary: its summary, as JSON.
        """
        for name in COUNTED_BY_PROCESS:
            setattr(self, name, getattr(self, name) + summary[name])
        self.seconds = max(self.seconds, summary["seconds"])
        self.tokens_per_second += summary["tokens_per_second"]
        self.device, self.dtype = summary["device"], summary["dtype"]
        self.remarks += [remark for remark in summary["remarks"] if remark not in self.remarks]

    def add_part(self, part: pa.Table) -> None:
        """Add a part of the table, whoever sampled it.

        Args:
            part: with at least `PART_COLUMNS`.
        """
        reasons = pc.list_flatten(part.column("finish_reasons")).to_pylist()
        lengths = pc.list_value_length(pc.list_flatten(part.column("completion_token_ids"))).to_pylist()
        self.samples += len(reasons)
        self.tokens += sum(lengths)
        for reason, count in Counter(reasons).items():
            self.finish_reasons[reason] += count
        self.empty_completions += sum(
            reason == "stop" and length == 1 for reason, length in zip(reasons, lengths, strict=True)
        )
        self.samples_without_answer += pc.list_flatten(part.column("answers")).null_count
        has_reference = pc.is_valid(part.column("reference"))
        self.references += pc.sum(has_reference).as_py() or 0
        without_tokens = pc.and_(has_reference, pc.is_null(part.column("reference_token_ids")))
        self.references_without_tokens += pc.sum(without_tokens).as_py() or 0

    def finish(self, reference_reasoning: str) -> None:
        """The notes.

        Args:
            reference_reasoning: the option of that name.
        """
        self.tokens_sampled = self.tokens - self.tokens_extended
        self.notes = [*self.remarks, *self._notes(), *self.notes_on_references(reference_reasoning)]

    def _notes(self) -> Iterator[str]:
        yield from notes.truncation(self.finish_reasons["length"], self.samples)
        yield from notes.thoughts(self.samples_without_answer, self.samples)
        yield from notes.empty(self.empty_completions, self.samples)
        yield from notes.aborted(self.finish_reasons["abort"], self.samples)
        if not self.parts_left_to_other_workers:
            yield from notes.references(self.references, self.groups)
        explained = self.references_without_reasoning + self.references_without_answer
        yield from notes.untrained_references(self.references_without_tokens - explained, self.references)
