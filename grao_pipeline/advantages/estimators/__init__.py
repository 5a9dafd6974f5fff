"""Estimators: functions from the flat view to a Polars expression of the advantage, one file each.

An estimator `f(view, *, statistics)` reads column `reward` (the combined reward, null where unscored or dropped),
`source` and the other columns of the flat view, and returns one expression with one value per row; group statistics are
`.over("group_id")`. Null means: not trained on. Further keyword arguments are what `--estimator-arg` may set. Register
one below, or pass `--estimator package.module:function`.

An estimator that needs statistics of the whole table has an attribute `over_table`: a function of the same signature
whose standard deviation over all parts is found beforehand and is then column `table_std` of the view.
"""

from grao_pipeline.advantages.estimators.base import (
    REWARD,
    counted_reward,
    group_mean,
    group_size,
    group_std,
    standardised,
)
from grao_pipeline.advantages.estimators.grao import grao

_HERE = "grao_pipeline.advantages.estimators"

ESTIMATORS = {
    "grao": f"{_HERE}.grao:grao",
    "grpo": f"{_HERE}.grpo:grpo",
    "dr-grpo": f"{_HERE}.dr_grpo:dr_grpo",
    "rloo": f"{_HERE}.rloo:rloo",
    "reinforce++-baseline": f"{_HERE}.reinforce_baseline:reinforce_baseline",
    "max-rl": f"{_HERE}.max_rl:max_rl",
    "gdpo": f"{_HERE}.gdpo:gdpo",
    "opmd": f"{_HERE}.opmd:opmd",
    "asymre": f"{_HERE}.asymre:asymre",
    "rank": f"{_HERE}.rank:rank",
    "best-of-n": f"{_HERE}.best_of_n:best_of_n",
    "sft": f"{_HERE}.sft:sft",
}

# Those whose advantages are not made from rewards: a group without a spread of rewards teaches as much as any other.
WITHOUT_REWARDS = ("sft",)

__all__ = [
    "ESTIMATORS",
    "REWARD",
    "WITHOUT_REWARDS",
    "counted_reward",
    "grao",
    "group_mean",
    "group_size",
    "group_std",
    "standardised",
]
