"""The REC family: REINFORCE on stored samples, with masks instead of ratios."""

from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2509.24203",
    "L = (1/G) Σ_i mean_t [ −Â_i w_t M_t log π(t) + k2 · (log r_t)² ]        w = 1, or r_t as a constant\n"
    "one-side: M = [Â ≥ 0, r ≤ 1 + clip_high] or [Â ≤ 0, r ≥ 1 − clip_low]\n"
    "two-side: 1 − clip_low ≤ r ≤ 1 + clip_high\n"
    "ring: two-side, or [Â ≥ 0, r ≤ 1 − ring_low] or [Â ≤ 0, r ≥ 1 + ring_high]",
    needs="behavior log-probs",
)
class Rec(Objective):
    """A likelihood weighted by advantages that leaves out tokens whose ratio has moved far enough already.

    `importance=yes` with one side is the gradient of GRPO's clipped loss; AsymRE and OPMD of this family are separate
    objectives, RED is an estimator. `k2` is the paper's regularizer (0.1 for OPMD).
    """

    class Arguments(PluginArguments):
        mask: Literal["one-side", "two-side", "ring", "none"] = argument("one-side", "Which tokens are trained on.")
        importance: bool = argument(False, "Multiply by the importance ratio.")
        clip_low: NonNegativeFloat = argument(0.2, "Lower width of the band; the wide form has 0.6.")
        clip_high: NonNegativeFloat = argument(0.2, "Upper width of the band; the wide form has 2.")
        ring_low: NonNegativeFloat = argument(0.6, "Where the ring begins below.")
        ring_high: NonNegativeFloat = argument(2.0, "Where the ring begins above.")
        k2: NonNegativeFloat = argument(0.0, "Weight of the squared log-ratio.")

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        log_ratio = inputs.log_ratios()
        advantages = inputs.advantages[:, None] * inputs.token_weights
        mask = self._mask(log_ratio.detach().exp(), advantages)
        weights = advantages * mask * (log_ratio.detach().exp() if self.arguments.importance else 1.0)
        tokens = -weights * inputs.token_logprobs + self.arguments.k2 * log_ratio**2
        share = inputs.sample_share()
        masked = (share * inputs.mean_over_tokens(1 - mask.to(share.dtype))).sum()
        return ObjectiveOutputs((share * inputs.mean_over_tokens(tokens)).sum(), {"masked_tokens": masked})

    def _mask(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        arguments = self.arguments
        low, high = ratio >= 1 - arguments.clip_low, ratio <= 1 + arguments.clip_high
        up, down = advantages >= 0, advantages <= 0
        if arguments.mask == "none":
            return torch.ones_like(low)
        if arguments.mask == "one-side":
            return (up & high) | (down & low)
        if arguments.mask == "two-side":
            return low & high
        return (low & high) | (up & (ratio <= 1 - arguments.ring_low)) | (down & (ratio >= 1 + arguments.ring_high))
