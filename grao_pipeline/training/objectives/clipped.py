"""The clipped policy-gradient loss per token that GRPO and Dr. GRPO share; they differ in how they average it.

    r_t     = π_θ(t) / π_behavior(t)                per token (PPO, arXiv 1707.06347; GRPO, arXiv 2402.03300)
    r_t     = exp(mean_t log r_t)                    for all tokens of a sequence (GSPO, arXiv 2507.18071)
    loss_t  = −min(r_t A_t, clip(r_t, 1 − clip_low, 1 + clip_high) A_t) + kl · r_t · (1/q_t − 1 + log q_t)

with A_t = Â_i · token weight. `clip_high` > `clip_low` is DAPO's "clip higher" (arXiv 2503.14476).

q_t = π_θ(t) / π_behavior(t) always per token: the last term is the estimator "k3" of the KL divergence of π_θ from
π_behavior (the stage holds no other model to stay near). It is one for samples of π_θ; those here are π_behavior's,
which the factor r_t makes up for (DeepSeek-V3.2, arXiv 2512.02556). `unbiased_kl=no` leaves it out, as in GRPO's paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from grao_pipeline.training.objectives.base import ObjectiveInputs, parse_choice, parse_number

DEFAULTS = {"ratio": "token", "clip_low": "0.2", "clip_high": "0.2", "kl": "0", "unbiased_kl": "yes"}


@dataclass(frozen=True)
class TokenLosses:
    """[S, L] each, meaningless at references and padding.

    Attributes:
        loss: clipped loss and KL penalty.
        penalty: the KL penalty alone, its coefficient included; without a graph.
        is_clipped: the token's policy gradient is 0, since its ratio left the band on the side it is pushed to.
    """

    loss: Tensor
    penalty: Tensor
    is_clipped: Tensor


@dataclass(frozen=True)
class ClippedLoss:
    """The loss per token.

    Args:
        ratio: `token` or `sequence`.
        clip_low, clip_high: the ratio counts between 1 − clip_low and 1 + clip_high.
        kl: coefficient of the KL penalty.
        unbiased_kl: multiply it by the ratio.
    """

    ratio: str
    clip_low: float
    clip_high: float
    kl: float
    unbiased_kl: bool

    @classmethod
    def parse(cls, objective: str, taken: Mapping[str, str]) -> Self:
        """From an objective's arguments.

        Raises:
            UsageError: a value is not possible.
        """
        return cls(
            parse_choice(objective, "ratio", taken["ratio"], ("token", "sequence")),
            parse_number(objective, "clip_low", taken["clip_low"], lowest=0.0, highest=1.0),
            parse_number(objective, "clip_high", taken["clip_high"], lowest=0.0),
            parse_number(objective, "kl", taken["kl"], lowest=0.0),
            parse_choice(objective, "unbiased_kl", taken["unbiased_kl"], ("yes", "no")) == "yes",
        )

    def __call__(self, inputs: ObjectiveInputs) -> TokenLosses:
        log_ratio = inputs.log_ratios()
        of_policy = log_ratio if self.ratio == "token" else inputs.mean_over_tokens(log_ratio)[:, None]
        ratio = of_policy.exp()
        advantages = inputs.advantages[:, None] * inputs.token_weights
        free = ratio * advantages
        bounded = ratio.clamp(1 - self.clip_low, 1 + self.clip_high) * advantages
        penalty = self.kl * (torch.exp(-log_ratio) - 1 + log_ratio) * (ratio if self.unbiased_kl else 1.0)
        return TokenLosses(penalty - torch.minimum(free, bounded), penalty.detach(), (bounded < free).detach())
