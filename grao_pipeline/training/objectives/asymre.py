"""Asymmetric REINFORCE (arXiv 2506.20520): off-policy REINFORCE whose baseline is lower than the mean reward.

Per group, to be maximized:

    J = (1/G) Σ_i (R_i − V) ℓ(o_i)        V = mean of R over the group's samples + delta_v

delta_v < 0 emphasizes successes, which teach more than the failures of another policy do; at 0 and above the paper
shows a collapse of the policy's support. ℓ is the mean log-prob per token, as in GRAO, where the paper writes
log π(o_i).
"""

import torch

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2506.20520",
    "L = −(1/G) Σ_i (R_i − mean R − delta_v) ℓ(o_i)",
    needs="rewards",
)
class AsymRe(Objective):
    """REINFORCE on rewards, with a baseline below the mean reward of the group.

    Needs the reward of every trained sample. Weights are made from rewards; advantages only decide which samples are
    trained on. References are not trained on. Without an importance ratio, so without behavior log-probs.
    """

    class Arguments(PluginArguments):
        delta_v: float = argument(-0.1, "Added to the mean reward to give the baseline; in units of the reward.")

    arguments: Arguments
    traits = Traits(is_linear=True, needs_rewards=True, takes_corrections=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        above_baseline = inputs.rewards - inputs.group_mean_reward - self.arguments.delta_v  # [S]
        weights = above_baseline / inputs.group_size.clamp(min=1)  # [S]
        weights = torch.where(inputs.is_reference, 0.0, weights)
        return ObjectiveOutputs(-(weights * inputs.weighted_mean_logprobs()).sum(), {})
