"""The flat view: groups and scores as one row per sequence, the reference included, without texts or tokens.

| column | meaning |
|---|---|
| row | position of the group among the groups that are read together |
| group_id, prompt_id, policy, round | of the group |
| sample_index | 0 … G − 1; −1 for the reference |
| source | `sample` or `reference` |
| reward.<name> | one column per scores table; null where the sequence is unscored |
| applies.<name> | false where the status is `not_applicable`; for a reference: that of all samples of its group |
| num_tokens | length of the sequence, in tokens; of a sample those that the policy sampled (`completion_masks`) |
| mean_logprob | mean behavior log-prob of the sampled token IDs, in nats per token; null for the reference |
| feature.<name> | the reward of a `--feature` table; null where it has none, and for pooled samples |
| metadata.<key> | the value of a key of the row's metadata, as text; only where requested by name |
| finish_reason | of the sample; null for the reference |
| duplicate | whether an earlier sample of the group has the same token IDs; only where requested by name |
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline.storage.table_pair import refuse_other_counts

GROUP_COLUMNS = [
    "group_id",
    "prompt_id",
    "policy",
    "round",
    "finish_reasons",
    "reference_token_ids",
    "completion_token_ids",
    "completion_logprobs",
    "completion_masks",
    "metadata",
]
SCORE_COLUMNS = ["group_id", "rewards", "reference_reward", "statuses"]
# Every view needs the identity of a group, its number of samples and whether it has a reference.
LAYOUT_COLUMNS = ("group_id", "finish_reasons", "reference_token_ids")
SOURCES = {
    "num_tokens": ("completion_token_ids", "completion_masks"),
    "duplicate": ("completion_token_ids",),
    "mean_logprob": ("completion_logprobs", "completion_masks"),
}


def view_columns(names: Collection[str]) -> list[str]:
    """The columns of the view without `duplicate`, which is computed only where requested.

    Args:
        names: of the rewards.
    """
    shared = ["row", "group_id", "prompt_id", "policy", "round", "sample_index", "source"]
    rewards = [f"{prefix}.{name}" for prefix in ("reward", "applies") for name in names]
    return [*shared, *rewards, "num_tokens", "mean_logprob", "finish_reason"]


def columns_to_read(columns: Collection[str]) -> list[str]:
    """The columns of the groups table that these columns of the view are derived from."""
    wanted = {source for name in columns for source in SOURCES.get(name, (name.partition(".")[0],))}
    wanted |= set(LAYOUT_COLUMNS)
    return [name for name in GROUP_COLUMNS if name in wanted]


def flat_view(
    groups: pa.Table | pl.DataFrame,
    scores: Mapping[str, pa.Table | pl.DataFrame],
    columns: Collection[str] | None = None,
) -> pl.DataFrame:
    """Derive the flat view of one part, or of several.

    Args:
        groups: a part of a groups table with at least the `columns_to_read`.
        scores: the aligned part of each scores table, by the reward's name.
        columns: the wanted columns of the view; `row` and `sample_index` are always included. By default those of
            `view_columns`.

    Returns:
        Rows in the order of the groups, the reference before the samples.

    Raises:
        MismatchError: a group does not have one reward per sample.
    """
    frame, aligned = _frame(groups), {name: _frame(table) for name, table in scores.items()}
    layout = _Layout.of(frame)
    for name, table in aligned.items():
        refuse_other_counts(frame["group_id"], layout.sizes, table["rewards"].list.len().to_numpy(), name)
    wanted = view_columns(scores) if columns is None else [*dict.fromkeys(["row", "sample_index", *columns])]
    return pl.DataFrame([_BUILDERS.get(name, _reward_or_group_column)(name, frame, aligned, layout) for name in wanted])


@dataclass(frozen=True)
class _Layout:
    """The positions of the sequences of R groups among the S rows of the view.

    Example: groups of 2 and 1 samples, the first with a reference: row [0, 0, 0, 1], sample_index [−1, 0, 1, 0].
    """

    sizes: np.ndarray  # [R] int64, samples of each group
    row: np.ndarray  # [S] uint32
    sample_index: np.ndarray  # [S] int32
    has_reference: np.ndarray  # [R] bool
    order: pl.Series  # [S] position in the references followed by the samples

    @staticmethod
    def of(groups: pl.DataFrame) -> "_Layout":
        sizes = groups["finish_reasons"].list.len().to_numpy().astype(np.int64)
        has_reference = groups["reference_token_ids"].is_not_null().to_numpy()
        lengths = sizes + has_reference
        starts = np.cumsum(lengths) - lengths
        row = np.repeat(np.arange(len(sizes), dtype=np.uint32), lengths)
        position = np.arange(len(row), dtype=np.int32)
        sample_index = position - np.repeat((starts + has_reference).astype(np.int32), lengths)
        references_after = has_reference.sum() - np.cumsum(has_reference)
        order = position + np.repeat(references_after.astype(np.int32), lengths)
        order[starts[has_reference]] = np.arange(has_reference.sum())
        return _Layout(sizes, row, sample_index, has_reference, pl.Series(order).cast(pl.UInt32))

    def interleave(self, name: str, group_values: pl.Series, sample_values: pl.Series) -> pl.Series:
        """One value per sequence.

        Args:
            group_values: [R], the value of each group's reference; unused where the group has no reference.
            sample_values: [number of samples].
        """
        references = group_values.filter(pl.Series(self.has_reference))
        return pl.concat([references, sample_values]).gather(self.order).alias(name)

    def spread(self, column: pl.Series) -> pl.Series:
        """One element per sample of a column of lists, null for the samples of a group whose list is null."""
        elements = _elements(column)
        if not column.null_count():
            return elements
        samples = pl.Series(self.row[self.sample_index >= 0])
        present = column.is_not_null().gather(samples)
        return elements.gather((present.cum_sum() - 1).cast(pl.UInt32).set(~present, None))


Frames = Mapping[str, pl.DataFrame]
ColumnBuilder = Callable[[str, pl.DataFrame, Frames, _Layout], pl.Series]


def _reward_or_group_column(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    """A reward, whether it applies, or a column with one value per group."""
    if name.startswith("feature.") and name not in scores:  # of a pooled table
        return pl.Series(name, [None], dtype=pl.Float32).new_from_index(0, len(layout.row))
    if name.startswith("metadata."):
        texts = groups["metadata"].str.json_path_match(f"$.{name.removeprefix('metadata.')}")
        return texts.gather(pl.Series(layout.row)).alias(name)
    if name.startswith(("reward.", "feature.")):
        table = scores[name.removeprefix("reward.")]
        return layout.interleave(name, table["reference_reward"], _elements(table["rewards"]))
    if name.startswith("applies."):
        samples = _elements(scores[name.removeprefix("applies.")]["statuses"]) != "not_applicable"
        row = pl.Series(layout.row[layout.sample_index >= 0])
        has_applied = pl.Series([False]).new_from_index(0, len(groups))
        return layout.interleave(name, has_applied.scatter(row.filter(samples), True), samples)
    return groups[name].gather(pl.Series(layout.row)).alias(name)


def _row(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    return pl.Series(name, layout.row).cast(pl.get_index_type()).set_sorted()


def _sample_index(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    return pl.Series(name, layout.sample_index)


def _source(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    kinds = pl.Series(name, ["sample", "reference"], dtype=pl.String)
    return kinds.gather(pl.Series((layout.sample_index < 0).astype(np.uint32)))


def _finish_reason(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    return layout.interleave(name, _nulls(groups, pl.String), _elements(groups["finish_reasons"]))


def _num_tokens(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    samples = _elements(groups["completion_token_ids"]).list.len().cast(pl.Int32)
    masks = groups["completion_masks"]
    if masks.null_count() < len(masks):
        sampled = layout.spread(masks).list.sum().cast(pl.Int32)
        samples = pl.select(pl.coalesce(sampled, samples)).to_series()
    references = groups["reference_token_ids"].list.len().cast(pl.Int32)
    return layout.interleave(name, references, samples)


def _mean_logprob(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    """Per-sample means over the tokens that the policy sampled; null for the samples of a group without log-probs."""
    logprobs = layout.spread(groups["completion_logprobs"]).cast(pl.List(pl.Float64))
    means = logprobs.list.mean()
    masks = groups["completion_masks"]
    if masks.null_count() < len(masks):
        frame = pl.DataFrame({"logprob": logprobs, "mask": layout.spread(masks)}).with_row_index("sample").drop_nulls()
        tokens = frame.explode("logprob", "mask").filter("mask")
        masked = tokens.group_by("sample").agg(pl.col("logprob").mean())
        means = means.scatter(masked["sample"], masked["logprob"])
    return layout.interleave(name, _nulls(groups, pl.Float32), means.cast(pl.Float32))


def _duplicate(name: str, groups: pl.DataFrame, scores: Frames, layout: _Layout) -> pl.Series:
    """Token IDs are compared as bytes."""
    ids = _elements(groups["completion_token_ids"])
    offsets = np.concatenate([[0], np.cumsum(ids.list.len().to_numpy())]) * 4
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(_elements(ids).to_numpy())]
    binary = pa.Array.from_buffers(pa.large_binary(), len(ids), buffers)
    rows = pl.Series("row", layout.row[layout.sample_index >= 0])
    first = pl.DataFrame([rows, pl.Series("ids", binary)]).to_struct("sample").is_first_distinct()
    return layout.interleave(name, _nulls(groups, pl.Boolean).fill_null(False), ~first)


_BUILDERS: dict[str, ColumnBuilder] = {
    "row": _row,
    "sample_index": _sample_index,
    "source": _source,
    "finish_reason": _finish_reason,
    "num_tokens": _num_tokens,
    "mean_logprob": _mean_logprob,
    "duplicate": _duplicate,
}


def _frame(table: pa.Table | pl.DataFrame) -> pl.DataFrame:
    return table if isinstance(table, pl.DataFrame) else pl.DataFrame(pl.from_arrow(table))


def _elements(column: pl.Series) -> pl.Series:
    """The elements of a column of lists, concatenated."""
    return column.explode(empty_as_null=False, keep_nulls=False)


def _nulls(groups: pl.DataFrame, dtype: type[pl.DataType]) -> pl.Series:
    return pl.Series([None], dtype=dtype).new_from_index(0, len(groups))
