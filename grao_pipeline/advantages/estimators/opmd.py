"""OPMD, the simple form that Trinity-RFT (arXiv 2505.17826) derives from Kimi k1.5 (arXiv 2501.12599)."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, group_mean


def opmd(view: pl.DataFrame, *, statistics: str, tau: float = 1.0) -> pl.Expr:
    """Â_s = (R_s − μ) / (1 + τ).

    With a plain likelihood as objective and `--statistics samples` these are the weights of the objective `opmd`. The
    reference has an advantage by the same formula, and counts in μ with `samples_and_reference`.

    Args:
        tau: strength of the regularisation towards the policy that sampled; here it scales the step alone.
    """
    return (REWARD - group_mean(statistics)) / (1.0 + tau)
