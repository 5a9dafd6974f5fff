"""The training weight of every sequence under GRAO, as `grao train` computes it (training/objectives/grao.py).

    w_i = (1 + λ) Â_i / G        w_y = β Â_y − λ (1/G) Σ_i Â_i

over the G samples with an advantage; without a trained reference w_i = Â_i / G. What is not trained on weighs 0.
"""

import polars as pl


def with_weights(rows: pl.DataFrame, beta: float, lambda_: float) -> pl.DataFrame:
    """The rows with a column `weight`, float64.

    Args:
        rows: one per sequence, with `row` (of its group), `sample_index` (−1: the reference) and `advantage`.
    """
    is_sample = pl.col("sample_index") >= 0
    advantage = pl.col("advantage").cast(pl.Float64)
    of_samples = pl.when(is_sample).then(advantage)
    size = of_samples.is_not_null().sum().over("row").clip(lower_bound=1)
    has_reference = (~is_sample & advantage.is_not_null()).any().over("row")
    regularizer = pl.when(has_reference).then(lambda_).otherwise(0.0)
    of_sample = (1.0 + regularizer) * advantage / size
    of_reference = beta * advantage - lambda_ * of_samples.sum().over("row") / size
    return rows.with_columns(pl.when(is_sample).then(of_sample).otherwise(of_reference).fill_null(0.0).alias("weight"))
