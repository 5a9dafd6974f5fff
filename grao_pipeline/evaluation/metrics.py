"""The paper's metrics, one value per prompt (arXiv 2508.07750, "Metrics").

- RAS (relative adversarial score): share of samples with R(o, y) > 0; for a scalar reward R(o, y) = R(o) − R(y).
- NAG (normalized alignment gain): the tuned model's samples against the base model's samples of the same prompt.
  `nag_win_rate` is the share of pairs that the tuned model wins, the paper's formula; `nag_net` is wins − losses, the
  only reading that can give the negative values in the paper's tables. `nag_ties` is the share of pairs that tie.

- pass@K: the probability that at least one of K samples succeeds: its reward reaches a threshold. Of n samples with
  c successes, 1 − C(n − c, K) / C(n, K) is unbiased (arXiv 2107.03374, Eq. 1); the plug-in 1 − (1 − c/n)^K is not.
- `success_rate`: c / n, which is avg@K of any K: unbiased, and from all n samples.

With several samples per prompt, the value of a prompt is the mean over them (for NAG, over all pairs).
"""

from collections.abc import Sequence
from math import comb

import numpy as np

Scored = np.ndarray[tuple[int], np.dtype[np.float64]]
Rewards = Sequence[float | None] | Scored
"""One per sample, None where it is unscored; or those of the scored ones."""


def ras(rewards: Rewards, reference_reward: float | None) -> float | None:
    """The share of scored samples that beat the reference; None without a scored sample or reference."""
    present = scored(rewards)
    if reference_reward is None or present.size == 0:
        return None
    return float((present > reference_reward).mean())


def nag(rewards: Rewards, base_rewards: Rewards) -> tuple[float, float, float] | None:
    """(win rate, wins − losses, ties) over all pairs of a tuned and a base sample; None without a pair."""
    tuned, base = scored(rewards), scored(base_rewards)
    if tuned.size == 0 or base.size == 0:
        return None
    difference = tuned[:, None] - base[None, :]
    wins, losses = (difference > 0).mean(), (difference < 0).mean()
    return float(wins), float(wins - losses), float((difference == 0).mean())


def pass_at(k: int, rewards: Rewards, success: float) -> float | None:
    """The unbiased estimate of pass@K from all scored samples; None where there are fewer than K.

    Args:
        success: the reward from which on a sample counts as a success.
    """
    present = scored(rewards)
    num, failures = present.size, int((present < as_stored(success)).sum())
    if num < k:
        return None
    return 1.0 - comb(failures, k) / comb(num, k)


def success_rate(rewards: Rewards, success: float) -> float | None:
    """The share of scored samples that succeed; None without one."""
    present = scored(rewards)
    return float((present >= as_stored(success)).mean()) if present.size else None


def as_stored(threshold: float) -> float:
    """A threshold in the precision of stored rewards, float32: 0.9 is reached by a stored 0.9."""
    return float(np.float32(threshold))


def mean_reward(rewards: Rewards) -> float | None:
    """The mean reward of the scored samples."""
    present = scored(rewards)
    return float(present.mean()) if present.size else None


def scored(rewards: Rewards) -> Scored:
    """The rewards of the scored samples."""
    if isinstance(rewards, np.ndarray):
        return rewards
    return np.array([reward for reward in rewards if reward is not None], dtype=np.float64)
