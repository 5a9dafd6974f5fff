"""OPMD, policy mirror descent on stored samples, in its simple form.

Per group, to be maximized:

    J = (1/G) Σ_i (R_i − mean R) ℓ(o_i) / (1 + tau)

Kimi k1.5 (arXiv 2501.12599) minimizes the squared error of R − τ log Z = τ log(π_θ / π_behavior). This is not that
loss but the one that Trinity-RFT (arXiv 2505.17826) derives from it and ships as its plain `opmd`: the baseline τ log Z
is the mean reward of the group, and the regularization towards the behavior policy, evaluated at the current policy, is
the factor 1 / (1 + tau). So tau only scales the step. ℓ is the mean log-prob per token of each sample, as in GRAO,
where Trinity-RFT averages over the tokens of the batch.
"""

import torch
from pydantic import NonNegativeFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2505.17826",
    "L = −(1/G) Σ_i (R_i − mean R) ℓ(o_i) / (1 + tau)",
    needs="rewards",
)
class Opmd(Objective):
    """Policy mirror descent on rewards, with the mean reward of the group as the baseline.

    Needs the reward of every trained sample. Weights are made from rewards; advantages only decide which samples are
    trained on. References are not trained on. Without an importance ratio, so without behavior log-probs.
    """

    class Arguments(PluginArguments):
        tau: NonNegativeFloat = argument(1.0, "Temperature of the regularization: the loss is divided by 1 + tau.")

    arguments: Arguments
    traits = Traits(is_linear=True, needs_rewards=True, takes_corrections=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        above_mean = inputs.rewards - inputs.group_mean_reward  # [S]
        weights = above_mean / inputs.group_size.clamp(min=1) / (1 + self.arguments.tau)  # [S]
        weights = torch.where(inputs.is_reference, 0.0, weights)
        return ObjectiveOutputs(-(weights * inputs.weighted_mean_logprobs()).sum(), {})
