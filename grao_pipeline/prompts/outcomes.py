"""What the outcomes of a prompt's samples tell of its difficulty, for priorities and budgets."""

import polars as pl


def success_rate(success_threshold: float, rewards: str = "rewards") -> pl.Expr:
    """(successes + 1) / (samples + 2): the posterior mean of a prompt's success rate; ½ for one that was never seen.

    Args:
        rewards: which ones, `rewards` of all rounds or `last`.
    """
    successes = pl.col(rewards).list.eval(pl.element() >= success_threshold).list.sum()
    return (successes.fill_null(0) + 1) / (pl.col(rewards).list.len().fill_null(0) + 2)


def uncertainty(success_threshold: float) -> pl.Expr:
    """√(p (1 − p)), p the success rate: the standard deviation of one outcome."""
    rate = success_rate(success_threshold)
    return (rate * (1.0 - rate)).sqrt()
