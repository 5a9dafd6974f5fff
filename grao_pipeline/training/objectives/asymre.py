"""Asymmetric REINFORCE (arXiv 2506.20520): off-policy REINFORCE whose baseline is set lower than the mean reward.

Per group, to be maximized:

    J = (1/G) Σ_i (R_i − V) ℓ(o_i)        V = mean of R over the group's samples + delta_v

delta_v < 0 leans on successes, which teach more than the failures of another policy do; at 0 and above the paper shows
a collapse of the policy's support. ℓ is the mean log-prob per token, as in GRAO, where the paper writes log π(o_i).
"""

from collections.abc import Mapping

import torch

from grao_pipeline.training.objectives.base import (
    NO_ARGUMENTS,
    ObjectiveInputs,
    ObjectiveOutputs,
    parse_number,
    take_arguments,
)


class AsymRe:
    """AsymRE. Needs the reward of every trained sample; its weight is made from rewards, the advantages only say which
    samples are trained on. References are not. No importance ratio, so no behavior log-probs.

    Arguments: `delta_v` (−0.1), on the rewards' scale.
    """

    is_linear = True
    needs_rewards = True
    takes_corrections = True
    uses_beta_and_lambda = False

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0, arguments: Mapping[str, str] = NO_ARGUMENTS) -> None:
        taken = take_arguments("asymre", arguments, delta_v="-0.1")
        self.delta_v = parse_number("asymre", "delta_v", taken["delta_v"])

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        weights = (inputs.rewards - inputs.group_mean_reward - self.delta_v) / inputs.group_size.clamp(min=1)
        weights = torch.where(inputs.is_reference, 0.0, weights)
        return ObjectiveOutputs(-(weights * inputs.weighted_mean_logprobs()).sum(), {})
