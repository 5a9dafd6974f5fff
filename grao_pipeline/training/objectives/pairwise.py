"""Losses of pairs of a group: the mean of link(u⁺, u⁻, R⁺ − R⁻) over the pairs that `pairs` chooses."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.pairs import PairArguments, choose_pairs, pair_sums


class PairwiseArguments(PairArguments):
    """Arguments of the pair losses."""

    link: Literal["dpo", "ipo", "hinge", "sppo", "preference-gap", "soft"] = argument("dpo", "Loss of a pair.")
    pair_beta: float = argument(0.1, "β: scale of the margin; of sppo 1/η.", gt=0.0)
    label_reliability: float = argument(1.0, "η of link=dpo: probability that a label is right.", gt=0.0, le=1.0)
    soft_tau: float = argument(1.0, "τ of link=soft: scale of the difference of the rewards.", gt=0.0)
    against: str = argument("behavior", "What the log-ratio compares with: behavior, or the NAME of a --logprobs.")


def dpo(u: Tensor, v: Tensor, gap: Tensor, arguments: PairwiseArguments) -> Tensor:
    h, eta = arguments.pair_beta * (u - v), arguments.label_reliability
    if eta == 1.0:
        return -logsigmoid(h)
    weight = (h.detach() + math.log(eta / (1 - eta))).sigmoid()  # Bayes' rule: p η / (p η + (1 − p)(1 − η))
    return -(weight * logsigmoid(h) + (1 - weight) * logsigmoid(-h))


def ipo(u: Tensor, v: Tensor, gap: Tensor, arguments: PairwiseArguments) -> Tensor:
    return (u - v - 1 / (2 * arguments.pair_beta)) ** 2


def hinge(u: Tensor, v: Tensor, gap: Tensor, arguments: PairwiseArguments) -> Tensor:
    return torch.relu(1 - arguments.pair_beta * (u - v))


def sppo(u: Tensor, v: Tensor, gap: Tensor, arguments: PairwiseArguments) -> Tensor:
    return (u - 0.5 / arguments.pair_beta) ** 2 + (v + 0.5 / arguments.pair_beta) ** 2


def preference_gap(u: Tensor, v: Tensor, gap: Tensor, arguments: PairwiseArguments) -> Tensor:
    return (u - v - gap / arguments.pair_beta) ** 2


def soft(u: Tensor, v: Tensor, gap: Tensor, arguments: PairwiseArguments) -> Tensor:
    h, q = arguments.pair_beta * (u - v), (gap / arguments.soft_tau).sigmoid()
    return -q * logsigmoid(h) - (1 - q) * logsigmoid(-h)


@dataclass(frozen=True)
class Link:
    loss: Callable[[Tensor, Tensor, Tensor, PairwiseArguments], Tensor]
    is_mean: bool = False


LINKS = {
    "dpo": Link(dpo),
    "ipo": Link(ipo, is_mean=True),
    "hinge": Link(hinge),
    "sppo": Link(sppo),
    "preference-gap": Link(preference_gap, is_mean=True),
    "soft": Link(soft),
}


@method(
    "arXiv 2305.18290 (dpo), 2310.12036 (ipo), 2305.10425 (hinge), 2405.00675 (sppo), 2503.08942 (preference-gap), "
    "2509.24159 (label_reliability)",
    "dpo: −log σ(h), h = β (u⁺ − u⁻)      ipo: (u⁺ − u⁻ − 1/(2β))²      hinge: max(0, 1 − h)\n"
    "sppo: (u⁺ − 1/(2β))² + (u⁻ + 1/(2β))²      preference-gap: (u⁺ − u⁻ − (R⁺ − R⁻)/β)²\n"
    "soft: −q log σ(h) − (1 − q) log σ(−h), q = σ((R⁺ − R⁻)/τ)\n"
    "label_reliability η: −w log σ(h) − (1 − w) log σ(−h), w = p η / (p η + (1 − p)(1 − η)), p = σ(h)",
    needs="rewards and behavior log-probs, or --logprobs with against=NAME; those of references where pairs name them",
)
class Pairwise(Objective):
    """Prefers the winner of every chosen pair of a group to its loser, by the loss that `link` names.

    u is the log-ratio of a sequence to `against`, weighted by token and summed (ipo, preference-gap: averaged).
    """

    Arguments = PairwiseArguments
    arguments: PairwiseArguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        link = LINKS[self.arguments.link]
        weighted = inputs.log_ratios_to(self.arguments.against) * inputs.token_weights
        values = inputs.mean_over_tokens(weighted) if link.is_mean else weighted.sum(dim=1)
        chosen = choose_pairs(inputs, self.arguments)
        winners, losers = values[chosen.winners], values[chosen.losers]
        losses = link.loss(winners, losers, chosen.gap(inputs), self.arguments)
        return ObjectiveOutputs((chosen.weights * losses).sum(), pair_sums(winners - losers, chosen.weights))
