"""What engines return → samples as the table has them, whatever the engine."""

from collections.abc import Sequence
from dataclasses import replace

from grao_pipeline.generation.engines.base import Sample, SampledGroup, Sampling
from grao_pipeline.models.token_text import StopStrings


class EngineOutput:
    """Cuts samples at stop strings, and adds the behavior log-probs that need no engine.

    Attributes:
        has_unknown_behavior: whether a sample has log-probs, but none of the distribution that sampled it.
    """

    def __init__(self, sampling: Sampling, stops: StopStrings) -> None:
        self.has_unknown_behavior = False
        self._sampling = sampling
        self._stops = stops if sampling.stop else None

    def completed(self, groups: Sequence[SampledGroup]) -> list[SampledGroup]:
        """The groups with complete samples."""
        return [SampledGroup(group.key, [self._completed(sample) for sample in group.samples]) for group in groups]

    def _completed(self, sample: Sample) -> Sample:
        length = None if self._stops is None else self._stops.length(sample.token_ids)
        if length is not None:
            sample = _cut(sample, length)
        behavior = self._behavior_logprobs(sample)
        self.has_unknown_behavior |= behavior is None and sample.logprobs is not None
        return replace(sample, behavior_logprobs=behavior)

    def _behavior_logprobs(self, sample: Sample) -> list[float] | None:
        """The policy's where that was sampled from as it is; 0 for the only token that greedy sampling can draw."""
        if self._sampling.is_policy or sample.logprobs is None:
            return sample.logprobs
        return [0.0] * len(sample.logprobs) if self._sampling.temperature == 0.0 else sample.behavior_logprobs


def _cut(sample: Sample, length: int) -> Sample:
    """The first tokens of a sample, up to the one that completes a stop string."""
    logprobs, behavior = (
        None if values is None else values[:length] for values in (sample.logprobs, sample.behavior_logprobs)
    )
    return replace(
        sample,
        token_ids=sample.token_ids[:length],
        logprobs=logprobs,
        behavior_logprobs=behavior,
        finish_reason="stop",
    )
