"""How far the trained policy is from the one that sampled: sums over samples, and the metrics made from them.

With r_t = π_θ(t) / π_b(t) for a sampled token t, π_b the distribution that was sampled from (the policy that sampled,
as temperature, top-p, top-k, min-p and penalties changed it), N tokens in n samples:

- `kl_behavior`      (1/N) Σ_t (r_t − 1 − log r_t)      k3, never negative, in nats per token
- `kl_behavior_k1`   −(1/N) Σ_t log r_t                 k1, of greater variance, may be negative
- `effective_sample_size`   (Σ_s w_s)² / (n Σ_s w_s²)   over samples, w_s = exp((1/|s|) Σ_{t in s} log r_t) the
  geometric mean of its tokens' ratios; 1 on-policy, 1/n where one sample has all the weight
- `outside_band`     the share of tokens with r_t < 0.8 or r_t > 1.2

k1 and k3 (Schulman, "Approximating KL divergence") estimate KL(π_b ‖ π_θ) for samples of π_b. Where π_b leaves tokens
out (top-p, top-k, min-p), k3 is lower by their probability under π_θ; k1 is not. Samples from a distribution whose
log-probs are not stored are left out.

All are made from sums, so those of micro-batches, ranks and steps are merged without loss.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from grao_pipeline.training.data.origins import Origin

RATIO_BAND = (0.8, 1.2)


@dataclass
class OffPolicySums:
    """Sums over samples with stored log-probs; ratios as logarithms, which floats can hold.

    Attributes:
        log_ratio, k3: Σ_t log r_t, and Σ_t (r_t − 1 − log r_t); the latter is None where no float can hold it.
        outside: number of tokens outside the band.
        log_weights, log_squares: log Σ_s w_s and log Σ_s w_s²; None without samples.
    """

    samples: int = 0
    tokens: int = 0
    log_ratio: float = 0.0
    k3: float | None = 0.0
    outside: int = 0
    log_weights: float | None = None
    log_squares: float | None = None

    @staticmethod
    def of_sample(tokens: int, log_ratio: float, k3: float, outside: int) -> "OffPolicySums":
        """The sums of one sample, from its sums over tokens."""
        mean = log_ratio / tokens
        return OffPolicySums(1, tokens, log_ratio, k3 if math.isfinite(k3) else None, outside, mean, 2 * mean)

    def add(self, other: "OffPolicySums") -> None:
        """Add the sums of other samples."""
        self.samples += other.samples
        self.tokens += other.tokens
        self.log_ratio += other.log_ratio
        self.k3 = None if self.k3 is None or other.k3 is None else self.k3 + other.k3
        self.outside += other.outside
        self.log_weights = _log_sum(self.log_weights, other.log_weights)
        self.log_squares = _log_sum(self.log_squares, other.log_squares)

    def report(self) -> dict[str, float | None]:
        """The four metrics; None where there are no samples, or no float can hold the value."""
        size = None
        if self.log_weights is not None and self.log_squares is not None:
            size = math.exp(2 * self.log_weights - self.log_squares) / self.samples
        tokens = self.tokens
        return {
            "kl_behavior": None if self.k3 is None or not tokens else self.k3 / tokens,
            "kl_behavior_k1": -self.log_ratio / tokens if tokens else None,
            "effective_sample_size": size,
            "outside_band": self.outside / tokens if tokens else None,
        }


class OriginSums:
    """Off-policy sums by the number of the samples' origin.

    Example of a record in metrics.jsonl: `[{"origin": 0, "samples": 8, "tokens": 61, "log_ratio": -0.1, …}]`
    """

    def __init__(self) -> None:
        self._sums: dict[int, OffPolicySums] = {}

    def add(self, origin: int, sums: OffPolicySums) -> None:
        self._sums.setdefault(origin, OffPolicySums()).add(sums)

    def merge(self, other: "OriginSums") -> None:
        for origin, sums in other._sums.items():
            self.add(origin, sums)

    def merge_records(self, records: Iterable[dict[str, Any]]) -> None:
        """Add the sums that `records` returned, exactly: JSON preserves every bit of a float."""
        for record in records:
            values = dict(record)
            self.add(values.pop("origin"), OffPolicySums(**values))

    def records(self) -> list[dict[str, Any]]:
        """The sums as JSON, in the order of the origins."""
        return [{"origin": origin, **asdict(self._sums[origin])} for origin in sorted(self._sums)]

    def total(self) -> OffPolicySums:
        """The sums of all origins together."""
        total = OffPolicySums()
        for origin in sorted(self._sums):
            total.add(self._sums[origin])
        return total

    def of(self, origin: int) -> OffPolicySums:
        """The sums of one origin; empty where none of its samples was added."""
        return self._sums.get(origin, OffPolicySums())


def origin_reports(origins: Sequence[Origin], sums: OriginSums) -> list[dict[str, Any]]:
    """Description of every origin, number of samples and tokens that were compared, and their metrics.

    Example: `[{"round": 2, "rounds_behind": 1, "groups": 64, "groups_trained": 60, "samples": 480, "tokens": 9211,
    "kl_behavior": 0.004, "kl_behavior_k1": 0.003, "effective_sample_size": 0.98, "outside_band": 0.06,
    "policy": "3f…", "groups_table": "9a…"}]`
    """
    return [
        {
            "round": origin.round,
            "rounds_behind": origin.rounds_behind,
            "groups": origin.groups,
            "groups_trained": origin.groups_trained,
            "samples": sums.of(number).samples,
            "tokens": sums.of(number).tokens,
            **sums.of(number).report(),
            "policy": origin.policy,
            "groups_table": origin.groups_table,
        }
        for number, origin in enumerate(origins)
    ]


def _log_sum(a: float | None, b: float | None) -> float | None:
    """log(eᵃ + eᵇ); None stands for log 0."""
    if a is None or b is None:
        return b if a is None else a
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))
