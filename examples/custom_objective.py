r"""An objective of your own: REINFORCE that learns more from failures than from successes (W-REINFORCE).

    grao train runs/groups runs/advantages runs/model --model models/base \
        --objective examples.custom_objective:WeightedReinforce --objective-arg positive_weight=0.1

Per group, to be maximized (arXiv 2506.01347, with advantages in place of rewards of ±1):

    J = (1/G) Σ_i c_i Â_i ℓ(o_i)        c_i = positive_weight where Â_i > 0, else 1

Successes make a policy narrower, failures only take probability away from what is wrong.
"""

import torch
from pydantic import NonNegativeFloat

from grao_pipeline import Objective, PluginArguments, argument
from grao_pipeline.training.objectives.base import ObjectiveInputs, ObjectiveOutputs, Traits


class WeightedReinforce(Objective):
    """REINFORCE with a weight for samples of positive advantage; references are not trained on."""

    class Arguments(PluginArguments):
        positive_weight: NonNegativeFloat = argument(0.1, "Weight of samples with a positive advantage.")

    arguments: Arguments
    traits = Traits(is_linear=True, takes_corrections=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        """Args: inputs: any subset of a step's S sequences, so that a step can be cut anywhere."""
        factors = torch.where(inputs.advantages > 0, self.arguments.positive_weight, 1.0)  # [S]
        weights = factors * inputs.advantages * inputs.sample_share()  # [S]; 0 for a reference
        terms = weights * inputs.weighted_mean_logprobs()  # [S]
        return ObjectiveOutputs(-terms.sum(), {})
