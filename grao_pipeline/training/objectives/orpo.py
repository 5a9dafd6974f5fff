"""ORPO: likelihood of the winner and an odds ratio, without a reference model."""

import torch
from pydantic import NonNegativeFloat
from torch.nn.functional import logsigmoid

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.pairs import PairArguments, choose_pairs, pair_sums


@method(
    "arXiv 2403.07691",
    "L = −ℓ(o⁺) − weight · log σ(log odds(o⁺) − log odds(o⁻))        odds = P / (1 − P), P = exp ℓ",
    needs="rewards",
)
class Orpo(Objective):
    """Trains on the winner of every pair, and pushes the odds of its loser down; ℓ is the mean log-prob per token."""

    class Arguments(PairArguments):
        odds_weight: NonNegativeFloat = argument(0.1, "Weight of the odds ratio.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        likelihood = inputs.weighted_mean_logprobs()
        chosen = choose_pairs(inputs, self.arguments)
        winners, losers = likelihood[chosen.winners], likelihood[chosen.losers]
        log_odds = (winners - losers) - (torch.log1p(-winners.exp()) - torch.log1p(-losers.exp()))
        losses = -winners - self.arguments.odds_weight * logsigmoid(log_odds)
        return ObjectiveOutputs((chosen.weights * losses).sum(), pair_sums(log_odds, chosen.weights))
