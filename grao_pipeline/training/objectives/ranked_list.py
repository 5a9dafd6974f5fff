"""In-context ranking preference optimization: a whole list at once."""

import math
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch.nn.functional import logsigmoid

from grao_pipeline.arguments import JsonList, PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2504.15477",
    "L = −mean_i w_i log σ(−log mean_{j≠i} exp(list_beta (d_j − d_i)))        d = mean_t log r_t\n"
    "w_i = (2^rel_i − 1) / log₂(1 + rank_i), or rel_i / log₂(1 + rank_i) with gain=linear",
    needs="rewards, behavior log-probs (or --logprobs with against=NAME) and whole groups",
)
class RankedList(Objective):
    """Ranks the samples of a group by their rewards, the best positions counting most, as NDCG does.

    rel is a whole number: the number of `buckets` that a reward reaches, or the reward itself, rounded. Of equal ones
    the earlier sample ranks higher.
    """

    class Arguments(PluginArguments):
        list_beta: PositiveFloat = argument(1.0, "Scale of the differences.")
        buckets: JsonList[float] = argument([], "Rewards at which rel grows by one, as JSON, e.g. [0.3, 0.7].")
        gain: Literal["exponential", "linear"] = argument("exponential", "How much rel counts.")
        against: str = argument("behavior", "What d compares with: behavior, or the NAME of a --logprobs.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        ratios = inputs.log_ratios_to(self.arguments.against) * inputs.token_weights
        values = self.arguments.list_beta * inputs.mean_over_tokens(ratios)
        loss = (inputs.token_logprobs * 0.0).sum()
        rewards = inputs.rewards.tolist()
        for rows in inputs.rows_of_groups():
            if len(rows) < 2:
                continue
            relevance = [self._relevance(rewards[row]) for row in rows]
            order = sorted(range(len(rows)), key=lambda place: -relevance[place])
            weights = torch.zeros(len(rows), dtype=values.dtype, device=values.device)
            for rank, place in enumerate(order, 1):
                weights[place] = self._gain(relevance[place]) / math.log2(1 + rank)
            difference = values[rows][None, :] - values[rows][:, None]  # [i, j] = d_j − d_i
            itself = torch.eye(len(rows), dtype=torch.bool, device=values.device)
            others = torch.logsumexp(difference.masked_fill(itself, -math.inf), dim=1) - math.log(len(rows) - 1)
            loss = loss - (weights * logsigmoid(-others)).mean()
        return ObjectiveOutputs(loss, {})

    def _relevance(self, reward: float) -> int:
        if self.arguments.buckets:
            return sum(reward >= bucket for bucket in self.arguments.buckets)
        return round(reward)

    def _gain(self, relevance: int) -> float:
        return 2.0**relevance - 1.0 if self.arguments.gain == "exponential" else float(relevance)
