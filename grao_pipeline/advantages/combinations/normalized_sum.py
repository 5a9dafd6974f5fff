"""Rewards that are standardized within the group before they are added."""

import polars as pl

from grao_pipeline.advantages.combinations.rewards import Weights, applies, complete, reward_named, total
from grao_pipeline.methods import method


@method("arXiv 2601.05242", "R = Σ_k weight_k · (R_k − μ_k) / σ_k        0 for a reward with σ_k = 0")
def normalized_sum(view: pl.DataFrame, *, weights: Weights, statistics: str) -> pl.Expr:
    """The weighted sum of rewards that are standardized within the group, so that a weight says how much one counts.

    A reward that does not distinguish the sequences of a group does not dilute those that do (as in GDPO, without its
    second step over the batch). `statistics` names the sequences that count in μ_k and σ_k, as for the estimators;
    where none counts, the combined reward is null.
    """
    is_complete = complete(weights)
    counts = pl.lit(True) if statistics == "samples_and_reference" else pl.col("source") == "sample"
    parts = []
    for name, weight in weights.items():
        reward = pl.when(is_complete & counts).then(reward_named(name))  # null where it does not apply, too
        mean = reward.mean().over("group_id")
        std = ((reward - mean) ** 2).mean().over("group_id").sqrt()
        # The rewards themselves are compared: a rounded mean must not turn equal rewards into a spread.
        is_constant = (reward.min() == reward.max()).over("group_id")
        standardized = pl.when(is_constant | (std == 0.0)).then(0.0).otherwise((reward_named(name) - mean) / std)
        parts.append(weight * pl.when(applies(name)).then(standardized).otherwise(0.0))
    return pl.when(is_complete).then(total(parts)).cast(pl.Float32)
