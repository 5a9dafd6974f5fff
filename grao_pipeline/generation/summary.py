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
    references_too_long: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    fingerprint: str = ""
    policy: str = ""

    def count(self, samples: Sequence[Sample]) -> None:
        """Add samples and their tokens."""
        self.samples += len(samples)
        for sample in samples:
            self.tokens += len(sample.token_ids)
            self.finish_reasons[sample.finish_reason] += 1
            self.empty_completions += sample.finish_reason == "stop" and len(sample.token_ids) <= 1
