"""The flat view: groups and scores as one row per sequence, the reference too, without texts or tokens.

| column | meaning |
|---|---|
| row | position of the group in its part |
| group_id, prompt_id, policy, round | of the group |
| sample_index | 0 … G − 1; −1 for the reference |
| source | `sample` or `reference` |
| reward.<name> | one column per scores table; null where scoring failed |
| num_tokens | length of the sequence, in tokens |
| mean_logprob | mean behaviour log-prob of the sampled ids, in nats per token; null for the reference |
| finish_reason | of a sample; null for the reference |
"""

from collections.abc import Mapping

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import MismatchError

GROUP_COLUMNS = [
    "group_id",
    "prompt_id",
    "policy",
    "round",
    "finish_reasons",
    "reference_token_ids",
    "completion_token_ids",
    "completion_logprobs",
]
SCORE_COLUMNS = ["group_id", "rewards", "reference_reward"]


def flat_view(groups: pa.Table, scores: Mapping[str, pa.Table]) -> pl.DataFrame:
    """Derive the flat view of one part.

    Args:
        groups: a part of a groups table with at least `GROUP_COLUMNS`.
        scores: the aligned part of each scores table, by the reward's name.

    Returns:
        Rows in the order of the groups, the reference before the samples.

    Raises:
        MismatchError: a group has not one reward per sample.
    """
    frame = pl.DataFrame(pl.from_arrow(groups.select(GROUP_COLUMNS))).with_row_index("row")
    for name, table in scores.items():
        refuse_other_sample_counts(groups, table, name)
        rewards = pl.DataFrame(pl.from_arrow(table.select(SCORE_COLUMNS)))
        frame = frame.with_columns(
            rewards["rewards"].alias(f"reward.{name}"), rewards["reference_reward"].alias(f"reference.{name}")
        )
    shared = ["row", "group_id", "prompt_id", "policy", "round"]
    samples = frame.select(
        *shared,
        pl.int_ranges(pl.col("finish_reasons").list.len(), dtype=pl.Int32).alias("sample_index"),
        pl.lit("sample").alias("source"),
        *(pl.col(f"reward.{name}") for name in scores),
        pl.col("completion_token_ids").list.eval(pl.element().list.len().cast(pl.Int32)).alias("num_tokens"),
        _mean_logprobs(),
        pl.col("finish_reasons").alias("finish_reason"),
    ).explode("sample_index", *(f"reward.{name}" for name in scores), "num_tokens", "mean_logprob", "finish_reason")
    references = frame.filter(pl.col("reference_token_ids").is_not_null()).select(
        *shared,
        pl.lit(-1, dtype=pl.Int32).alias("sample_index"),
        pl.lit("reference").alias("source"),
        *(pl.col(f"reference.{name}").alias(f"reward.{name}") for name in scores),
        pl.col("reference_token_ids").list.len().cast(pl.Int32).alias("num_tokens"),
        pl.lit(None, dtype=pl.Float32).alias("mean_logprob"),
        pl.lit(None, dtype=pl.String).alias("finish_reason"),
    )
    return pl.concat([references, samples]).sort("row", "sample_index")


def refuse_other_sample_counts(groups: pa.Table, scores: pa.Table, name: str) -> None:
    """Check that aligned scores hold one reward per sample; those that other software wrote may not.

    Raises:
        MismatchError: names the first group that has not.
    """
    samples = pc.list_value_length(groups.column("finish_reasons")).to_pylist()
    rewards = pc.list_value_length(scores.column("rewards")).to_pylist()
    if samples != rewards:
        row = next(row for row, (s, r) in enumerate(zip(samples, rewards, strict=True)) if s != r)
        raise MismatchError(
            f"Scores '{name}' hold {rewards[row]} rewards for group {groups.column('group_id')[row]}, which has "
            f"{samples[row]} samples. They need one per sample, null where scoring failed."
        )


def _mean_logprobs() -> pl.Expr:
    """Per-sample means; where a group stores no log-probs, as many nulls as it has samples."""
    no_logprobs = pl.lit(None, dtype=pl.Float32).repeat_by(pl.col("finish_reasons").list.len())
    float64 = pl.element().cast(pl.List(pl.Float64))
    means = pl.col("completion_logprobs").list.eval(float64.list.mean().cast(pl.Float32))
    return pl.coalesce(means, no_logprobs).alias("mean_logprob")
