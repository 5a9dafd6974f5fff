"""What earlier rounds saw of every prompt: its rewards, and on demand what its samples' tokens tell."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.input_content import refuse_other_rows
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import has_manifest, read_manifest
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.table_pair import TablePair, refuse_other_sample_counts

Columns = dict[str, "pl.DataType | type[pl.DataType]"]
OF_ROUND: Columns = {"prompt_id": pl.String, "round": pl.Int32, "rewards": pl.List(pl.Float32)}
OF_TOKENS: Columns = {"mean_tokens": pl.Float64, "distinct": pl.Float64}
NGRAM = 3


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


def reward_statistics(
    history: Sequence[TablePair], progress: Progress = SILENT, of_tokens: bool = False
) -> pl.DataFrame:
    """The rewards of every prompt's samples, without unscored samples.

    The last round of a prompt is the last one with a scored sample of it. The variance of equal rewards is exactly 0.

    Args:
        history: groups and their rewards, the oldest round first.
        of_tokens: whether the samples' tokens are read, too.

    Returns:
        one row per prompt with a scored sample, in no particular order: prompt_id; rewards, those of all rounds, oldest
        first; last, those of its last round; mean and (population) variance of the last ones; round, the number of the
        last round. With `of_tokens` also, of the last round: mean_tokens of a sample; distinct, the share of distinct
        ones among the 3-grams of the samples' token IDs.
    """
    schema = OF_ROUND | (OF_TOKENS if of_tokens else {})
    frames = [pl.DataFrame(schema={**schema, "age": pl.Int32})]
    with progress.track("reading the history", sum(pair.groups.num_parts for pair in history), "parts") as bar:
        for age, pair in enumerate(history):
            for frame in _rounds(pair, of_tokens, bar):
                frames.append(frame.with_columns(pl.lit(age, pl.Int32).alias("age")))
    reward, is_last = pl.col("rewards").cast(pl.Float64), pl.col("age") == pl.col("age").max()
    last = reward.filter(is_last)
    is_constant = last.min() == last.max()
    return (
        pl.concat(frames)
        .explode("rewards")
        .drop_nulls("rewards")
        .group_by("prompt_id")
        .agg(
            reward,
            last.alias("last"),
            pl.when(is_constant).then(last.min()).otherwise(last.mean()).alias("mean"),
            pl.when(is_constant).then(0.0).otherwise(last.var(ddof=0)).alias("variance"),
            pl.col("round").filter(is_last).max(),
            *(pl.col(name).filter(is_last).last() for name in (OF_TOKENS if of_tokens else {})),
        )
    )


def _rounds(pair: TablePair, of_tokens: bool, bar: Bar) -> Iterator[pl.DataFrame]:
    """The groups of a round, part by part."""
    tokens = ["completion_token_ids"] if of_tokens else []
    for groups, rewards in pair.parts(["prompt_id", "round", "finish_reasons", *tokens], ["rewards"]):
        refuse_other_sample_counts(groups, rewards, pair.companion.url)
        table = groups.select(["prompt_id", "round"]).append_column("rewards", rewards["rewards"])
        frame = pl.DataFrame(pl.from_arrow(table))
        yield frame.with_columns(*_token_columns(groups["completion_token_ids"])) if of_tokens else frame
        bar.advance()


def _token_columns(completions: pa.ChunkedArray) -> list[pl.Series]:
    """Args: completions: of each group the token IDs of its samples."""
    means, shares = [], []
    for group in completions:
        samples = [np.asarray(sample) for sample in group.values.to_pylist()]
        means.append(sum(map(len, samples)) / len(samples))
        grams = [np.lib.stride_tricks.sliding_window_view(ids, NGRAM) for ids in samples if len(ids) >= NGRAM]
        together = np.concatenate(grams) if grams else np.empty((0, NGRAM))
        shares.append(len(np.unique(together, axis=0)) / max(len(together), 1))
    return [pl.Series("mean_tokens", means, pl.Float64), pl.Series("distinct", shares, pl.Float64)]
