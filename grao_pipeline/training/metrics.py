"""What one optimizer step reports, summed over its micro-batches without holding a graph."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.objectives.base import ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.off_policy_metrics import RATIO_BAND, OffPolicySums, OriginSums

COMPONENTS = ("exploration", "imitation", "regularizer")


class StepMetrics:
    """Sums of one step. `off_policy_metrics.py` defines the off-policy metrics.

    `entropy`, in nats per token, is (1/N) Σ_t −r_t log π_θ(t) over the sampled tokens, r_t the ratio to the
    distribution that was sampled from: an unbiased estimate of the mean entropy of π_θ at the positions of these
    tokens, without the whole distribution at any position. Where top-p, top-k or min-p left tokens out, their share of
    the entropy is missing.
    """

    def __init__(self, num_groups: int) -> None:
        self._num_groups = num_groups
        self._objective: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._origins = OriginSums()

    @torch.no_grad()
    def add(self, sequences: Sequence[TrainingSequence], inputs: ObjectiveInputs, outputs: ObjectiveOutputs) -> None:
        """Add a micro-batch."""
        for name, value in {"J": -outputs.loss.detach(), **outputs.sums}.items():
            self._objective[name] = self._objective.get(name, 0.0) + float(value)
        likelihood = inputs.mean_logprobs()
        samples = ~inputs.is_reference
        rewards = [one.reward for one in sequences if one.reward is not None and not one.is_reference]
        self._count("samples", float(samples.sum()))
        self._count("references", float(inputs.is_reference.sum()))
        self._count("logprob_samples", float(likelihood[samples].sum()))
        self._count("logprob_references", float(likelihood[inputs.is_reference].sum()))
        self._count("rewards", sum(rewards))
        self._count("rewarded", len(rewards))
        self._compare(sequences, inputs)

    def merge(self, other: "StepMetrics") -> None:
        """Add the sums of another rank for the same step."""
        for sums, others in ((self._objective, other._objective), (self._sums, other._sums)):
            for name, value in others.items():
                sums[name] = sums.get(name, 0.0) + value
        self._origins.merge(other._origins)

    def report(self) -> dict[str, Any]:
        """The metrics of the step; a value is None where nothing defines it in this step, or no float can hold it."""
        means = {name: total / self._num_groups for name, total in self._objective.items()}
        magnitude = sum(abs(means[name]) for name in COMPONENTS if name in means)
        shares = {
            f"{name}_share": abs(means[name]) / magnitude if magnitude else None for name in COMPONENTS if name in means
        }
        return {
            **means,
            **shares,
            "mean_logprob_samples": self._mean("logprob_samples", "samples"),
            "mean_logprob_references": self._mean("logprob_references", "references"),
            "reward": self._mean("rewards", "rewarded"),
            "entropy": self._mean("entropy", "compared"),
            **self._origins.total().report(),
        }

    def origins(self) -> list[dict[str, object]]:
        """The off-policy sums by origin, as JSON."""
        return self._origins.records()

    def _compare(self, sequences: Sequence[TrainingSequence], inputs: ObjectiveInputs) -> None:
        """Compare samples with the distribution that they were sampled from, where its log-probs are known."""
        if all(sequence.behavior_logprobs is None for sequence in sequences):
            return
        mask = inputs.sampling_mask()
        log_ratio = inputs.sampling_log_ratios().double()
        ratio = log_ratio.exp()
        outside = mask & ((ratio < RATIO_BAND[0]) | (ratio > RATIO_BAND[1]))
        columns = [mask, log_ratio, ratio - 1 - log_ratio, outside, -ratio * inputs.token_logprobs * mask]
        rows = torch.stack([column.double().sum(dim=1) for column in columns], dim=1).tolist()
        for sequence, (tokens, log_ratios, k3, out, entropy) in zip(sequences, rows, strict=True):
            if tokens:
                self._count("compared", tokens)
                self._count("entropy", entropy)
                self._origins.add(sequence.origin, OffPolicySums.of_sample(int(tokens), log_ratios, k3, int(out)))

    def _count(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def _mean(self, total: str, count: str) -> float | None:
        mean = self._sums[total] / self._sums[count] if self._sums.get(count) else math.nan
        return mean if math.isfinite(mean) else None
