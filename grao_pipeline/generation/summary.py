"""What a run of `grao generate` did."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grao_pipeline.generation.engines.base import Sample
from grao_pipeline.schemas import FINISH_REASONS, FinishReason


@dataclass
class GenerateSummary:
    """Samples and tokens are those of this run, not of parts that earlier runs wrote."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    parts_left_to_other_workers: int = 0
    groups_recovered: int = 0
    """Finished groups of unfinished parts, from a run that was stopped."""
    samples: int = 0
    samples_extended: int = 0
    """Samples copied from --extend."""
    tokens: int = 0
    finish_reasons: dict[FinishReason, int] = field(default_factory=lambda: dict.fromkeys(FINISH_REASONS, 0))
    empty_completions: int = 0
    """Samples of one end-of-turn token, whose text is empty."""
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
    fingerprint: str = ""
    policy: str = ""

    def warnings(self, reference_reasoning: str) -> list[str]:
        """What people should know of references and their reasoning.

        Args:
            reference_reasoning: the option of that name.
        """
        lines = []
        if self.references_without_reasoning and reference_reasoning == "required":
            lines.append(
                f"{self.references_without_reasoning:,} references have no reasoning, but the model reasons: they are "
                "scored, not trained on, since they would teach it to skip its thinking. Give references with <think>…"
                "</think>, turn thinking off (--template-arg enable_thinking=false), or choose --reference-reasoning."
            )
        if self.references_without_answer:
            lines.append(
                f"{self.references_without_answer:,} references begin a thought that never ends: not trained on."
            )
        if self.reference_reasoning_left_out:
            lines.append(
                f"{self.reference_reasoning_left_out:,} references are trained on without their reasoning, since the "
                "prompts turn the model's thinking off."
            )
        return lines

    def count(self, samples: Sequence[Sample]) -> None:
        """Add samples and their tokens."""
        self.samples += len(samples)
        for sample in samples:
            self.tokens += len(sample.token_ids)
            self.finish_reasons[sample.finish_reason] += 1
            self.empty_completions += sample.finish_reason == "stop" and len(sample.token_ids) <= 1
