"""TRPA: preferences between levels of rewards, weighted for the best."""

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch.nn.functional import logsigmoid

from grao_pipeline.arguments import JsonList, PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2504.04524",
    "L = mean over pairs with level_i < level_j of −log σ(trpa_beta · f · (D_i − D_j)) + kl · mean of k3\n"
    "D = mean_t log r_t; f = best for level 1, else 1; a group of one level: mean of −log σ(±D), + for level 1",
    needs="rewards, behavior log-probs (or --logprobs with against=NAME); --keep-zero-variance for groups of one level",
)
class Trpa(Objective):
    """Prefers samples of better levels to those of worse ones, and level 1 to the policy that sampled.

    A reward of at least the highest of the `levels` is level 1, and so on; one below all of them is the worst level.
    """

    class Arguments(PluginArguments):
        levels: JsonList[float] = argument(
            ..., "Lowest rewards of the levels but the worst, as JSON, e.g. [1, 0.5].", examples=["[1,0.5]"]
        )
        trpa_beta: PositiveFloat = argument(0.1, "Scale of the difference.")
        best: PositiveFloat = argument(2.5, "Factor for pairs whose winner has level 1.")
        kl: NonNegativeFloat = argument(0.001, "Weight of the divergence.")
        against: str = argument("behavior", "What D compares with: behavior, or the NAME of a --logprobs.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        log_ratios = inputs.log_ratios_to(self.arguments.against)
        values = inputs.mean_over_tokens(log_ratios * inputs.token_weights)
        penalties = inputs.mean_over_tokens(torch.exp(-log_ratios) - 1 + log_ratios)
        levels = [1 + sum(reward < level for level in self.arguments.levels) for reward in inputs.rewards.tolist()]
        loss = (inputs.token_logprobs * 0.0).sum()
        for rows in inputs.rows_of_groups():
            terms = [self._pair(values, levels, i, j) for i in rows for j in rows if levels[i] < levels[j]]
            if not terms:
                terms = [-logsigmoid(values[i] if levels[i] == 1 else -values[i]) for i in rows]
            loss = loss + torch.stack(terms).mean() + self.arguments.kl * penalties[rows].mean()
        return ObjectiveOutputs(loss, {"kl": (inputs.sample_share() * penalties.detach()).sum()})

    def _pair(self, values: torch.Tensor, levels: list[int], i: int, j: int) -> torch.Tensor:
        factor = self.arguments.best if levels[i] == 1 else 1.0
        return -logsigmoid(self.arguments.trpa_beta * factor * (values[i] - values[j]))
