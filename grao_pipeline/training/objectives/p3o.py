"""P3O with clipping: pairs of a group by the difference of their rewards."""

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "after arXiv 2310.00212",
    "L = mean over pairs of −min(ρ₁ Â, clip(ρ₁) Â) − min(−ρ₂ Â, −clip(ρ₂) Â)        Â = (R₁ − R₂) / 2, ρ = Π_t r_t",
    needs="rewards, behavior log-probs and whole groups",
)
class P3o(Objective):
    """Pairwise policy gradient with clipped ratios of whole samples.

    Without clipping its gradient is exactly that of RLOO: `--estimator rloo` is cheaper. How the paper clips is our
    reading of it.
    """

    class Arguments(PluginArguments):
        clip: NonNegativeFloat = argument(0.2, "The ratio of a sample is clipped to 1 ± clip.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        ratios = (inputs.log_ratios() * inputs.token_weights).sum(dim=1).exp()
        loss = (inputs.token_logprobs * 0.0).sum()
        for rows in inputs.rows_of_groups():
            first, second = torch.triu_indices(len(rows), len(rows), 1, device=ratios.device)
            if not len(first):
                continue
            mine, rewards = ratios[rows], inputs.rewards[rows]
            advantages = (rewards[first] - rewards[second]) / 2
            losses = self._clipped(mine[first], advantages) + self._clipped(mine[second], -advantages)
            loss = loss + losses.mean()
        return ObjectiveOutputs(loss, {})

    def _clipped(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        bounded = ratio.clamp(1 - self.arguments.clip, 1 + self.arguments.clip)
        return -torch.minimum(ratio * advantages, bounded * advantages)
