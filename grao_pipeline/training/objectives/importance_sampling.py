"""Importance-sampling corrections for off-policy samples: factors of token weights, without a gradient; off by default.

GRAO and the other likelihood objectives have no importance ratio. With r_t = π_θ(t) / q(t), q the distribution that the
sample was drawn from, from the log-probs stored with the samples, the log-prob of a token may be multiplied by

    truncated-is    min(r_t, cap)                       truncated importance sampling, per token
    sequence-is     min(exp(mean_t log r_t), cap)       the same with the geometric mean ratio of the sequence
    mask-band       1 where low ≤ r_t ≤ high, else 0    tokens whose ratio left the band are not trained on

q is the policy that sampled, as temperature, top-p, top-k, min-p and penalties change it: the groups' column
`completion_behavior_logprobs`. So without a cap the mean of r_t f(t) over samples is unbiased for Σ_t π_θ(t) f(t) over
the tokens that q can draw. Samples from a distribution whose log-probs are not stored are refused.

References, and samples without stored log-probs, count as r = 1, which every cap and band leaves unchanged: their
factor is 1. Independent of that, against −log π growing without bound:

    negative floor  0 where the loss pushes a token down whose log-prob is already below the floor
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs
from grao_pipeline.training.objectives.correction_bounds import correction_bounds
from grao_pipeline.training.options import TrainOptions

RatioFactor = Callable[[Tensor, Tensor], Tensor]
"""log r_t [S, L], 0 at padding, and the token mask [S, L] → factors [S, L]."""


def truncated_ratio(log_ratio: Tensor, token_mask: Tensor, cap: float) -> Tensor:
    """min(r_t, cap). [S, L]"""
    return log_ratio.clamp(max=math.log(cap)).exp()


def truncated_sequence_ratio(log_ratio: Tensor, token_mask: Tensor, cap: float) -> Tensor:
    """min(exp(mean_t log r_t), cap), the same for all tokens of a sequence. [S, L]"""
    mean = (log_ratio * token_mask).sum(dim=1, keepdim=True) / token_mask.sum(dim=1, keepdim=True)
    return mean.clamp(max=math.log(cap)).exp().expand_as(log_ratio)


def inside_band(log_ratio: Tensor, token_mask: Tensor, low: float, high: float) -> Tensor:
    """1 where low ≤ r_t ≤ high, else 0. [S, L]"""
    ratio = log_ratio.exp()
    return ((ratio >= low) & (ratio <= high)).to(log_ratio.dtype)


def pushed_down(objective: Objective, inputs: ObjectiveInputs) -> Tensor:
    """True at tokens whose log-prob a gradient step would lower: the loss grows with it. [S, L]"""
    with torch.enable_grad():
        leaf = inputs.token_logprobs.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(objective(replace(inputs, token_logprobs=leaf)).loss, leaf)
    is_pushed_down: Tensor = slopes > 0
    return is_pushed_down


@dataclass(frozen=True)
class Correction:
    """How the token weights of off-policy samples are corrected; not at all by default."""

    ratio_factor: RatioFactor | None = None
    """One of the three functions of the ratio above."""
    negative_floor: float | None = None
    """In nats."""

    @property
    def is_off(self) -> bool:
        return self.ratio_factor is None and self.negative_floor is None

    @property
    def needs_behavior(self) -> bool:
        """Whether it needs the log-probs of the distribution that was sampled from."""
        return self.ratio_factor is not None

    @torch.no_grad()
    def factors(self, objective: Objective, inputs: ObjectiveInputs) -> Tensor:
        """What the weight of every token is multiplied by, without a graph. [S, L]"""
        factors = torch.ones_like(inputs.token_logprobs)
        if self.ratio_factor is not None:
            factors = self.ratio_factor(inputs.sampling_log_ratios(), inputs.token_mask)
        if self.negative_floor is not None:
            is_below = inputs.token_logprobs < self.negative_floor
            factors = torch.where(is_below & pushed_down(objective, inputs), 0.0, factors)
        return factors


def make_correction(options: TrainOptions) -> Correction:
    """The correction that the options ask for.

    Raises:
        UsageError: a bound is missing, or is given and has no effect.
    """
    factor, arguments = RATIO_FACTORS[options.correction], correction_bounds(options)
    return Correction(None if factor is None else partial(factor, **arguments), options.negative_floor)


RATIO_FACTORS: dict[str, Callable[..., Tensor] | None] = {
    "none": None,
    "truncated-is": truncated_ratio,
    "sequence-is": truncated_sequence_ratio,
    "mask-band": inside_band,
}
"""Function of every --correction; its arguments are in `correction_bounds.py`."""
