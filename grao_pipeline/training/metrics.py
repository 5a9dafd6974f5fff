"""What one optimizer step reports, summed over its micro-batches without holding a graph."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from grao_pipeline.training.data import TrainingSequence
from grao_pipeline.training.objectives.base import ObjectiveInputs, ObjectiveOutputs

RATIO_BAND = (0.8, 1.2)
COMPONENTS = ("exploration", "imitation", "regulariser")


class StepMetrics:
    """Sums of one step. Off-policy diagnostics compare with the behaviour log-probs stored beside the samples:

    - `kl_behavior`: mean over sampled tokens of r − 1 − log r, r = π_θ / π_behaviour (an estimate of the KL
      divergence, never negative; Schulman, "Approximating KL divergence"), in nats per token.
    - `effective_sample_size`: (Σ r)² / (n Σ r²) over the samples, r the geometric mean ratio per token; 1 = on-policy.
    - `outside_band`: share of sampled tokens whose ratio leaves [0.8, 1.2].
    """

    def __init__(self, num_groups: int) -> None:
        self._num_groups = num_groups
        self._objective: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._log_ratios: list[float] = []

    @torch.no_grad()
    def add(self, sequences: Sequence[TrainingSequence], inputs: ObjectiveInputs, outputs: ObjectiveOutputs) -> None:
        """Add a micro-batch."""
        for name, value in {"J": -outputs.loss.detach(), **outputs.sums}.items():
            self._objective[name] = self._objective.get(name, 0.0) + float(value)
        likelihood = inputs.mean_logprobs()
        samples = ~inputs.is_reference
        rewards = [sequence.reward for sequence in sequences if sequence.reward is not None]
        self._count("samples", float(samples.sum()))
        self._count("references", float(inputs.is_reference.sum()))
        self._count("logprob_samples", float(likelihood[samples].sum()))
        self._count("logprob_references", float(likelihood[inputs.is_reference].sum()))
        self._count("rewards", sum(rewards))
        self._count("rewarded", len(rewards))
        self._add_diagnostics(inputs)

    def merge(self, other: "StepMetrics") -> None:
        """Add what another rank saw of the same step."""
        for sums, others in ((self._objective, other._objective), (self._sums, other._sums)):
            for name, value in others.items():
                sums[name] = sums.get(name, 0.0) + value
        self._log_ratios += other._log_ratios

    def report(self) -> dict[str, Any]:
        """The step's metrics; a value is None where the step has nothing to measure it on, or no float can hold it."""
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
            "kl_behavior": self._mean("kl", "compared_tokens"),
            "outside_band": self._mean("outside", "compared_tokens"),
            "effective_sample_size": self._effective_sample_size(),
        }

    def _add_diagnostics(self, inputs: ObjectiveInputs) -> None:
        rows = inputs.has_behavior
        if not bool(rows.any()):
            return
        mask = inputs.token_mask[rows]
        log_ratio = inputs.log_ratios()[rows].double()
        ratio = log_ratio.exp()
        outside = mask & ((ratio < RATIO_BAND[0]) | (ratio > RATIO_BAND[1]))
        self._count("kl", float((ratio - 1 - log_ratio).sum()))
        self._count("outside", float(outside.sum()))
        self._count("compared_tokens", float(mask.sum()))
        self._log_ratios += (log_ratio.sum(dim=1) / mask.sum(dim=1)).tolist()

    def _effective_sample_size(self) -> float | None:
        """From the log-ratios, so that a ratio beyond the largest float still counts."""
        if not self._log_ratios:
            return None
        logs = torch.tensor(self._log_ratios, dtype=torch.float64)
        return float(torch.exp(2 * logs.logsumexp(0) - (2 * logs).logsumexp(0))) / len(logs)

    def _count(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def _mean(self, total: str, count: str) -> float | None:
        mean = self._sums[total] / self._sums[count] if self._sums.get(count) else math.nan
        return mean if math.isfinite(mean) else None
