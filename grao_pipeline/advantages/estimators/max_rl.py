"""MaxRL, arXiv 2602.02710."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean
from grao_pipeline.errors import UsageError
from grao_pipeline.methods import method


@method(
    "arXiv 2602.02710",
    "Â = (R − μ) / μ        0 where μ = 0",
    needs="rewards of at least 0",
    options="--statistics samples",
)
class MaxRl(Estimator):
    """(R − μ) / μ, for rewards in [0, 1] that measure success; exactly 0 where μ = 0 (arXiv 2602.02710).

    Averaged over the group, this weights the successes alone, so that the gradient is that of a truncated series of
    log p(success). The paper has no reference: `--statistics samples` gives its formula. The reference gets an
    advantage by the same formula, and counts in μ with `samples_and_reference`.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        """Raises UsageError where a reward is negative: μ is then not a rate of success."""
        if "reward" in view.columns:
            lowest = view["reward"].min()
            if isinstance(lowest, float) and lowest < 0.0:
                raise UsageError(
                    "'max-rl' divides by the mean reward and needs rewards of at least 0; the lowest reward is "
                    f"{lowest:g}.",
                    option="estimator",
                )
        mean = group_mean(statistics)
        advantage = pl.when(mean == 0.0).then(0.0).otherwise((REWARD - mean) / mean)
        return pl.when(REWARD.is_not_null()).then(advantage)
