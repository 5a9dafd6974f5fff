"""The clipped policy-gradient loss per token that GRPO and Dr. GRPO share; they differ in how they average it.

π_behavior is the policy that sampled, at temperature 1, whatever temperature or top-p it was sampled with: the clip
keeps π_θ near that policy, and a ratio to a tempered distribution would leave the band before the first step.

    r_t     = π_θ(t) / π_behavior(t)                 per token (PPO, arXiv 1707.06347; GRPO, arXiv 2402.03300)
    r_t     = exp(mean_t log r_t)                    for all tokens of a sequence (GSPO, arXiv 2507.18071)
    loss_t  = −min(r_t A_t, clip(r_t, 1 − clip_low, 1 + clip_high) A_t) + kl · r_t · (1/q_t − 1 + log q_t)

with A_t = Â_i · token weight. `clip_high` > `clip_low` is DAPO's "clip higher" (arXiv 2503.14476).

q_t = π_θ(t) / π_behavior(t), always per token: the last term is the estimator "k3" of the KL divergence of π_θ from
π_behavior, or with `kl_against=NAME` from the model of that `--logprobs`, e.g. the one before all rounds. It is
unbiased for samples of π_θ. The samples here are those of π_behavior, which the factor r_t corrects for (DeepSeek-V3.2,
arXiv 2512.02556). `unbiased_kl=no` omits the factor, as in GRPO's paper.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.training.objectives.base import ObjectiveInputs


class ClippedArguments(PluginArguments):
    """Arguments of the loss per token."""

    ratio: Literal["token", "sequence"] = argument("token", "Importance ratio per token (GRPO) or per sequence (GSPO).")
    clip_low: float = argument(0.2, "The ratio is clipped to at least 1 − clip_low.", ge=0.0, le=1.0)
    clip_high: NonNegativeFloat = argument(0.2, "The ratio is clipped to at most 1 + clip_high.")
    kl: NonNegativeFloat = argument(0.0, "Coefficient of the KL penalty.")
    kl_against: str = argument("behavior", "Model of the KL penalty: behavior, or the NAME of a --logprobs.")
    unbiased_kl: bool = argument(True, "Multiply the KL penalty by the importance ratio.")


@dataclass(frozen=True)
class TokenLosses:
    """Values per token [S, L]; meaningless at references and padding."""

    loss: Tensor
    """Clipped loss plus KL penalty."""
    penalty: Tensor
    """The KL penalty alone, its coefficient included; without a graph."""
    is_clipped: Tensor
    """True where the policy gradient of the token is 0: its ratio left the band on the side it is pushed to."""


def token_losses(arguments: ClippedArguments, inputs: ObjectiveInputs) -> TokenLosses:
    """The loss of every token."""
    log_ratio = inputs.log_ratios()
    of_policy = log_ratio if arguments.ratio == "token" else inputs.mean_over_tokens(log_ratio)[:, None]
    ratio = of_policy.exp()
    advantages = inputs.advantages[:, None] * inputs.token_weights
    unclipped = ratio * advantages
    clipped = ratio.clamp(1 - arguments.clip_low, 1 + arguments.clip_high) * advantages
    to_model = inputs.log_ratios_to(arguments.kl_against)
    penalty = arguments.kl * (torch.exp(-to_model) - 1 + to_model) * (ratio if arguments.unbiased_kl else 1.0)
    return TokenLosses(penalty - torch.minimum(unclipped, clipped), penalty.detach(), (clipped < unclipped).detach())
