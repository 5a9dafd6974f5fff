"""Which sequences of a group are compared: pairs of a winner and a loser."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.training.objectives.base import ObjectiveInputs


class PairArguments(PluginArguments):
    """How the pairs of a group are chosen."""

    pairs: Literal["best-worst", "best-random", "all", "ranks", "adjacent", "large-margin", "reference-worst"] = (
        argument(
            "best-worst",
            "The best sample and the worst; and a random other one; all pairs; the best and that of rank `loser`; each "
            "sample and the next best; sequences of at least `floor` and those clearly worse (DNO); the reference "
            "and the worst sample.",
        )
    )
    min_gap: float = argument(0.0, "Pairs whose rewards differ by less are left out.", ge=0.0)
    loser: int = argument(2, "Rank of the loser, for pairs=ranks.", ge=2)
    floor: float = argument(5.0, "Lowest reward of a winner, for pairs=large-margin.")


@dataclass(frozen=True)
class Member:
    """A sequence of a group."""

    row: int
    reward: float
    is_reference: bool
    length: int


Pairs = list[tuple[Member, Member]]


def best_worst(members: Sequence[Member], arguments: PairArguments) -> Pairs:
    """Of equally good samples the first."""
    samples = _ranked(members)
    return [(samples[0], min(samples, key=lambda one: one.reward))] if samples else []


def best_random(members: Sequence[Member], arguments: PairArguments) -> Pairs:
    """The loser is drawn by the rewards and lengths of the group, so that it is the same in every epoch and cut."""
    samples = _ranked(members)
    key = repr([(one.reward, one.length) for one in samples])
    return [(samples[0], random.Random(key).choice(samples[1:]))] if len(samples) > 1 else []


def all_pairs(members: Sequence[Member], arguments: PairArguments) -> Pairs:
    samples = _ranked(members)
    return [(winner, loser) for place, winner in enumerate(samples) for loser in samples[place + 1 :]]


def ranks(members: Sequence[Member], arguments: PairArguments) -> Pairs:
    """Curry-DPO (arXiv 2403.07230): the loser's rank falls from round to round."""
    samples = _ranked(members)
    return [(samples[0], samples[arguments.loser - 1])] if len(samples) >= arguments.loser else []


def adjacent(members: Sequence[Member], arguments: PairArguments) -> Pairs:
    samples = _ranked(members)
    return list(pairwise(samples))


def large_margin(members: Sequence[Member], arguments: PairArguments) -> Pairs:
    """DNO (arXiv 2404.03715): a reference wins against samples at least 2 lower, a sample against those 1 lower."""
    samples = _ranked(members)
    winners = [one for one in members if one.is_reference] + samples
    return [
        (winner, loser)
        for winner in winners
        if winner.reward >= arguments.floor
        for loser in samples
        if winner.reward - loser.reward >= (2.0 if winner.is_reference else 1.0)
    ]


def reference_worst(members: Sequence[Member], arguments: PairArguments) -> Pairs:
    """Whatever their rewards are: a reference is preferred."""
    samples = _ranked(members)
    return [(one, samples[-1]) for one in members if one.is_reference] if samples else []


def _ranked(members: Sequence[Member]) -> list[Member]:
    """The samples, the best first, of equal ones the earlier."""
    return sorted((one for one in members if not one.is_reference), key=lambda one: -one.reward)


PAIRS: dict[str, Callable[[Sequence[Member], PairArguments], Pairs]] = {
    "best-worst": best_worst,
    "best-random": best_random,
    "all": all_pairs,
    "ranks": ranks,
    "adjacent": adjacent,
    "large-margin": large_margin,
    "reference-worst": reference_worst,
}


@dataclass(frozen=True)
class ChosenPairs:
    """The pairs of a micro-batch of whole groups."""

    winners: Tensor
    """Rows. [P]"""
    losers: Tensor
    """Rows. [P]"""
    weights: Tensor
    """1 over the number of pairs of the group. [P]"""

    def gap(self, inputs: ObjectiveInputs) -> Tensor:
        """Reward of the winner minus that of the loser. [P]"""
        return inputs.rewards[self.winners] - inputs.rewards[self.losers]


def choose_pairs(inputs: ObjectiveInputs, arguments: PairArguments) -> ChosenPairs:
    """The pairs that the arguments ask for. A sequence never wins against one of an equal or higher reward, unless it
    is a reference and the rule says so.
    """
    members: dict[int, list[Member]] = {}
    lengths = inputs.token_mask.sum(dim=1).tolist()
    columns = zip(inputs.group.tolist(), inputs.rewards.tolist(), inputs.is_reference.tolist(), lengths, strict=True)
    for row, (group, reward, is_reference, length) in enumerate(columns):
        members.setdefault(group, []).append(Member(row, reward, is_reference, length))
    winners, losers, weights = [], [], []
    for of_group in members.values():
        chosen = [pair for pair in PAIRS[arguments.pairs](of_group, arguments) if _counts(*pair, arguments)]
        winners += [winner.row for winner, _ in chosen]
        losers += [loser.row for _, loser in chosen]
        weights += [1.0 / max(1, len(chosen))] * len(chosen)
    device = inputs.rewards.device
    return ChosenPairs(
        torch.tensor(winners, dtype=torch.long, device=device),
        torch.tensor(losers, dtype=torch.long, device=device),
        torch.tensor(weights, dtype=inputs.rewards.dtype, device=device),
    )


def _counts(winner: Member, loser: Member, arguments: PairArguments) -> bool:
    if arguments.pairs == "reference-worst":
        return True
    gap = winner.reward - loser.reward
    return gap > 0.0 and gap >= arguments.min_gap


def pair_sums(margins: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Metrics that all pair losses have: pairs, the share in order, and the margin; per group."""
    detached = margins.detach()
    return {
        "pairs": torch.tensor(float(len(detached)), dtype=detached.dtype, device=detached.device),
        "pairs_in_order": (weights * (detached > 0)).sum(),
        "margin": (weights * detached).sum(),
    }
