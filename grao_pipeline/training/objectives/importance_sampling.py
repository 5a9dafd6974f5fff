"""Care for off-policy samples: factors without a gradient on the weights of tokens, off by default.

The likelihood of GRAO and its kin has no importance ratio. With r_t = π_θ(t) / π_behavior(t), from the log-probs
stored beside the samples, a token's log-prob may be multiplied by

    truncated-is    min(r_t, cap)                       truncated importance sampling, per token
    sequence-is     min(exp(mean_t log r_t), cap)       the same with the sequence's geometric mean ratio
    mask-band       1 where low ≤ r_t ≤ high, else 0    tokens that left the band are not trained on

References, and samples whose log-probs are not stored, count as r = 1, which every cap and band leaves as it is: their
factor is 1. And against −log π growing without bound:

    negative floor  0 where the loss pushes a token down whose log-prob is below the floor already
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from grao_pipeline.errors import UsageError
from grao_pipeline.options import option_flag
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs
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
    """True at tokens whose log-prob a step along −gradient would lower: the loss grows with it. [S, L]"""
    with torch.enable_grad():
        leaf = inputs.token_logprobs.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(objective(replace(inputs, token_logprobs=leaf)).loss, leaf)
    found: Tensor = slopes > 0
    return found


@dataclass(frozen=True)
class Correction:
    """What is done about off-policy samples; by default nothing.

    Attributes:
        ratio_factor: of the three above.
        negative_floor: in nats.
    """

    ratio_factor: RatioFactor | None = None
    negative_floor: float | None = None

    @property
    def is_off(self) -> bool:
        return self.ratio_factor is None and self.negative_floor is None

    @property
    def needs_behavior(self) -> bool:
        """Whether it compares with the policy that sampled."""
        return self.ratio_factor is not None

    @torch.no_grad()
    def factors(self, objective: Objective, inputs: ObjectiveInputs) -> Tensor:
        """By what each token's weight is multiplied: constants. [S, L]"""
        found = torch.ones_like(inputs.token_logprobs)
        if self.ratio_factor is not None:
            found = self.ratio_factor(inputs.log_ratios(), inputs.token_mask)
        if self.negative_floor is not None:
            is_below = inputs.token_logprobs < self.negative_floor
            found = torch.where(is_below & pushed_down(objective, inputs), 0.0, found)
        return found


def make_correction(options: TrainOptions) -> Correction:
    """The correction that the options ask for.

    Raises:
        UsageError: a bound is missing, or given and of no use.
    """
    factor, bounds = RATIO_FACTORS[options.correction]
    given = {bound: getattr(options, bound) for bound in ("ratio_cap", "ratio_low", "ratio_high")}
    for bound, value in given.items():
        flag = option_flag(bound)
        if value is None and bound in bounds:
            raise UsageError(f"--correction {options.correction} needs {flag}.")
        if value is not None and bound not in bounds:
            users = [name for name, (_, needed) in RATIO_FACTORS.items() if bound in needed]
            raise UsageError(f"{flag} {value:g} means something with --correction {' or '.join(users)} alone.")
    if factor is None:
        return Correction(None, options.negative_floor)
    return Correction(partial(factor, **{bounds[bound]: given[bound] for bound in bounds}), options.negative_floor)


RATIO_FACTORS: dict[str, tuple[Callable[..., Tensor] | None, dict[str, str]]] = {
    "none": (None, {}),
    "truncated-is": (truncated_ratio, {"ratio_cap": "cap"}),
    "sequence-is": (truncated_sequence_ratio, {"ratio_cap": "cap"}),
    "mask-band": (inside_band, {"ratio_low": "low", "ratio_high": "high"}),
}
"""Each --correction: its function, and which options are its arguments."""
