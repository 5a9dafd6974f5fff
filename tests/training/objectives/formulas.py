"""Published losses as they are written, sequence by sequence, without padding; independent of the library.

A formula maps the sequences of one group to its loss. Whatever has a gradient is a tensor; constants are floats.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class One:
    """A sample, or the reference, of a group."""

    logprobs: Tensor
    behavior: Tensor
    advantage: float
    reward: float
    is_reference: bool = False
    other: Tensor | None = None
    weights: Tensor | None = None

    @property
    def ratios(self) -> Tensor:
        return (self.logprobs - self.behavior).exp()

    @property
    def constants(self) -> Tensor:
        return self.ratios.detach()

    @property
    def likelihood(self) -> Tensor:
        return self.logprobs.mean()

    @property
    def log_ratio(self) -> Tensor:
        return (self.logprobs - self.behavior).sum()

    @property
    def mean_log_ratio(self) -> Tensor:
        return (self.logprobs - self.behavior).mean()


Formula = Callable[[Sequence[One]], Tensor]


def mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def nls(value: Tensor) -> Tensor:
    """−log σ"""
    return torch.log1p(torch.exp(-value))


def best(group: Sequence[One]) -> One:
    return max(group, key=lambda one: one.reward)


def worst(group: Sequence[One]) -> One:
    return min(group, key=lambda one: one.reward)


def cispo(group: Sequence[One]) -> Tensor:
    tokens = [
        -r.clamp(max=1.1) * one.advantage * lp
        for one in group
        for r, lp in zip(one.constants, one.logprobs, strict=True)
    ]
    return mean(tokens)


def clipped(one: One, low: float, high: float) -> list[Tensor]:
    return [-torch.minimum(r * one.advantage, r.clamp(1 - low, 1 + high) * one.advantage) for r in one.ratios]


def dapo(group: Sequence[One]) -> Tensor:
    return mean([token for one in group for token in clipped(one, 0.2, 0.28)])


def gspo(group: Sequence[One]) -> Tensor:
    def of(one: One) -> Tensor:
        ratio = one.mean_log_ratio.exp()
        return -torch.minimum(ratio * one.advantage, ratio.clamp(1 - 0.05, 1 + 0.1) * one.advantage)

    return mean([of(one) for one in group])


def sapo(group: Sequence[One]) -> Tensor:
    def of(one: One) -> Tensor:
        tau = 1.0 if one.advantage > 0 else 1.05
        return mean([-4 / tau * torch.sigmoid(tau * (r - 1)) * one.advantage for r in one.ratios])

    return mean([of(one) for one in group])


def disco(kind: str) -> Formula:
    def of(group: Sequence[One]) -> Tensor:
        good = [one.likelihood for one in group if one.reward > 0.5]
        bad = [one.likelihood for one in group if one.reward <= 0.5]
        if not good or not bad:
            return 0.0 * group[0].likelihood
        tail = 2.0 * torch.log(mean([torch.exp(s / 2.0) for s in bad]))
        kl = -mean([value for one in group for value in (one.logprobs - one.behavior)])
        factor = max(50.0 * (float(kl.detach()) - 0.001), 0.0)
        return -mean(good) + (tail if kind == "tail" else mean(bad)) + factor * kl

    return of


def distillation(group: Sequence[One]) -> Tensor:
    def of(one: One) -> Tensor:
        assert one.other is not None
        gain = one.other - one.behavior
        return mean([-r.clamp(max=5.0) * a for r, a in zip(one.ratios, gain, strict=True)])

    return mean([of(one) for one in group])


def kto(group: Sequence[One]) -> Tensor:
    z = max(0.0, sum(float(one.log_ratio.detach()) for one in group) / len(group))

    def of(one: One) -> Tensor:
        sign, weight = (1.0, 2.0) if one.reward >= 0.5 else (-1.0, 0.5)
        return weight * (1 - torch.sigmoid(sign * 0.3 * (one.log_ratio - z)))

    return mean([of(one) for one in group])


def orpo(group: Sequence[One]) -> Tensor:
    def odds(one: One) -> Tensor:
        p = one.likelihood.exp()
        return torch.log(p / (1 - p))

    if best(group).reward == worst(group).reward:
        return 0.0 * group[0].likelihood
    return -best(group).likelihood + 0.1 * nls(odds(best(group)) - odds(worst(group)))


def simpo(group: Sequence[One]) -> Tensor:
    if best(group).reward == worst(group).reward:
        return 0.0 * group[0].likelihood
    return nls(2.0 * (best(group).likelihood - worst(group).likelihood) - 1.0)


def p3o(group: Sequence[One]) -> Tensor:
    def clip(ratio: Tensor, advantage: float) -> Tensor:
        return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)

    losses = [
        clip(a.log_ratio.exp(), (a.reward - b.reward) / 2) + clip(b.log_ratio.exp(), (b.reward - a.reward) / 2)
        for i, a in enumerate(group)
        for b in group[i + 1 :]
    ]
    return mean(losses) if losses else 0.0 * group[0].likelihood


def pairwise(link: Callable[[One, One], Tensor], share: float = 1.0) -> Formula:
    """Args: share: of each sequence's tokens, those whose log-probs have moved the furthest."""

    def of(group: Sequence[One]) -> Tensor:
        group = [_furthest(one, share) for one in group]
        pairs = [link(a, b) for a in group for b in group if a.reward > b.reward]
        return mean(pairs) if pairs else 0.0 * group[0].likelihood

    return of


def _furthest(one: One, share: float) -> One:
    moved = (one.logprobs - one.behavior).detach().abs()
    chosen = moved.argsort(descending=True)[: math.ceil(share * len(moved))]
    return replace(one, logprobs=one.logprobs[chosen], behavior=one.behavior[chosen])


def dpo_link(a: One, b: One) -> Tensor:
    return nls(0.1 * (a.log_ratio - b.log_ratio))


def reliable(a: One, b: One) -> Tensor:
    p = torch.sigmoid(0.1 * (a.log_ratio - b.log_ratio))
    q = float(p.detach())
    w = q * 0.9 / (q * 0.9 + (1 - q) * 0.1)
    return -(w * torch.log(p) + (1 - w) * torch.log(1 - p))


def ipo(a: One, b: One) -> Tensor:
    return (a.mean_log_ratio - b.mean_log_ratio - 5.0) ** 2


def hinge(a: One, b: One) -> Tensor:
    return torch.relu(1 - 0.1 * (a.log_ratio - b.log_ratio))


def sppo_pair(a: One, b: One) -> Tensor:
    return (a.log_ratio - 5.0) ** 2 + (b.log_ratio + 5.0) ** 2


def preference_gap(a: One, b: One) -> Tensor:
    return (a.mean_log_ratio - b.mean_log_ratio - (a.reward - b.reward) / 0.1) ** 2


def soft(a: One, b: One) -> Tensor:
    h, q = 0.1 * (a.log_ratio - b.log_ratio), 1 / (1 + math.exp(-(a.reward - b.reward) / 0.5))
    return q * nls(h) + (1 - q) * nls(-h)


def ranked_list(group: Sequence[One]) -> Tensor:
    if len(group) < 2:
        return 0.0 * group[0].likelihood
    relevance = [sum(one.reward >= bucket for bucket in (0.3, 0.9)) for one in group]
    ranks = {place: rank for rank, place in enumerate(sorted(range(len(group)), key=lambda i: -relevance[i]), 1)}
    terms = []
    for i, one in enumerate(group):
        weight = (2 ** relevance[i] - 1) / math.log2(1 + ranks[i])
        others = mean([torch.exp(b.mean_log_ratio - one.mean_log_ratio) for j, b in enumerate(group) if j != i])
        terms.append(weight * nls(-torch.log(others)))
    return mean(terms)


def rec(mask: str, importance: bool, k2: float) -> Formula:
    def keeps(r: float, advantage: float) -> bool:
        if mask == "none":
            return True
        if mask == "one-side":
            return (advantage >= 0 and r <= 1.2) or (advantage <= 0 and r >= 0.8)
        ring = (advantage >= 0 and r <= 0.6) or (advantage <= 0 and r >= 1.5)
        return 0.8 <= r <= 1.2 or (mask == "ring" and ring)

    def of(group: Sequence[One]) -> Tensor:
        terms = []
        for one in group:
            tokens = []
            for lp, b, r in zip(one.logprobs, one.behavior, one.constants, strict=True):
                weight = float(keeps(float(r), one.advantage)) * (float(r) if importance else 1.0)
                tokens.append(-one.advantage * weight * lp + k2 * (lp - b) ** 2)
            terms.append(mean(tokens))
        return mean(terms)

    return of


def regression(group: Sequence[One]) -> Tensor:
    return mean([(one.advantage - one.log_ratio / 0.5) ** 2 for one in group])


def sppo(group: Sequence[One]) -> Tensor:
    return mean([(one.log_ratio - 10.0 * (one.reward - 0.5)) ** 2 for one in group])


def trpa(group: Sequence[One]) -> Tensor:
    level = {id(one): 1 if one.reward >= 0.9 else 2 if one.reward >= 0.3 else 3 for one in group}
    pairs = [
        nls(0.1 * (2.5 if level[id(a)] == 1 else 1.0) * (a.mean_log_ratio - b.mean_log_ratio))
        for a in group
        for b in group
        if level[id(a)] < level[id(b)]
    ]
    if not pairs:
        pairs = [nls(one.mean_log_ratio if level[id(one)] == 1 else -one.mean_log_ratio) for one in group]
    k3 = mean([mean([1 / r - 1 + torch.log(r) for r in one.ratios]) for one in group])
    return mean(pairs) + 0.001 * k3
