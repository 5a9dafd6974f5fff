"""Statistics of earlier rounds: the mean and variance of every prompt's rewards in the last round that has some."""

from collections.abc import Sequence

import polars as pl

from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.input_content import refuse_other_rows
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import has_manifest, read_manifest
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.table_pair import TablePair, refuse_other_sample_counts

SCHEMA = {"prompt_id": pl.String, "mean": pl.Float64, "variance": pl.Float64, "round": pl.Int32}


def open_history(history: Sequence[tuple[str, str]]) -> list[TablePair]:
    """Open a groups table and its rewards for every earlier round: scores, or advantages with the combined reward.

    Args:
        history: (groups, scores or advantages) URLs, the oldest round first.

    Raises:
        InputError: a table is not usable.
        MismatchError: the rewards were computed for other groups.
    """
    return [TablePair.open(groups, rewards, _kind(rewards)) for groups, rewards in history]


def refuse_rewritten_history(out: str, provenance: Provenance) -> None:
    """Check that the prompts in `out`, from which groups may have been sampled, follow from the rewards as they are.

    Raises:
        MismatchError: the rewards were rewritten since.
    """
    manifest = read_manifest(Directory(out))
    refuse_other_rows(out, None if manifest is None else manifest.provenance, provenance)


def _kind(rewards_url: str) -> str:
    return (
        "advantages" if has_manifest(rewards_url) and open_table(rewards_url).schema.name == "advantages" else "scores"
    )


def reward_statistics(history: Sequence[TablePair], progress: Progress = SILENT) -> pl.DataFrame:
    """Mean and population variance of the rewards of every prompt's samples, without unscored samples.

    For a prompt in several rounds, the last round with a scored sample of it counts. The variance of equal rewards is
    exactly 0.

    Args:
        history: groups and their rewards, the oldest round first.

    Returns:
        one row per prompt, in no particular order: prompt_id, mean, variance, and the round that they come from.
    """
    statistics = pl.DataFrame(schema=SCHEMA)
    with progress.track("reading the history", sum(pair.groups.num_parts for pair in history), "parts") as bar:
        for pair in history:
            newer = _statistics(pair, bar)
            statistics = pl.concat([statistics.join(newer, on="prompt_id", how="anti"), newer])
    return statistics


def _statistics(pair: TablePair, bar: Bar) -> pl.DataFrame:
    frames = [pl.DataFrame(schema={"prompt_id": pl.String, "round": pl.Int32, "rewards": pl.List(pl.Float32)})]
    for groups, rewards in pair.parts(["prompt_id", "round", "finish_reasons"], ["rewards"]):
        refuse_other_sample_counts(groups, rewards, pair.companion.url)
        table = groups.select(["prompt_id", "round"]).append_column("rewards", rewards["rewards"])
        frames.append(pl.DataFrame(pl.from_arrow(table)))
        bar.advance()
    reward = pl.col("rewards").cast(pl.Float64)
    is_constant = reward.min() == reward.max()
    return (
        pl.concat(frames)
        .explode("rewards")
        .drop_nulls("rewards")
        .group_by("prompt_id")
        .agg(
            pl.when(is_constant).then(reward.min()).otherwise(reward.mean()).alias("mean"),
            pl.when(is_constant).then(0.0).otherwise(reward.var(ddof=0)).alias("variance"),
            pl.col("round").max(),
        )
    )
