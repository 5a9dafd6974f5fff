"""What a table holds, read in batches of parts: of every sequence only a few numbers and words stay in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.flat_view import columns_to_read, flat_view
from grao_pipeline.storage.reader import TableReader

BATCH_BYTES = 32 << 20
BATCH_PARTS = 512
"""A part takes tens of kilobytes, however few its rows are."""
OF_SEQUENCES = ["source", "num_tokens", "mean_logprob"]
COLUMNS = {
    "prompts": ["reference", "rejected"],
    "groups": ["reference", "finish_reasons", "policy", "prompt_token_ids", *columns_to_read(OF_SEQUENCES)],
    "scores": ["rewards", "reference_reward", "statuses"],
    "logprobs": ["sample_logprobs", "reference_logprobs"],
    "advantages": ["rewards", "advantages", "reference_reward", "reference_advantage", "reward_mean", "reward_std"],
}
"""The columns that are read, by the kind of table."""
PER_TOKEN = ("_ids", "logprobs", "_weights", "_masks", "_ends")
"""How the names of columns end that have a value per token: of these only the number is shown in examples."""
LONGEST_LIST = 12
"""Elements of another list that an example shows."""
GROUP_NUMBERS = ("reference_reward", "reference_advantage", "reward_mean", "reward_std")


@dataclass(frozen=True)
class Description:
    """Of a table: counts, distributions by name, and the first rows, shortened."""

    counts: dict[str, object]
    distributions: dict[str, dict[str, float | None]]
    examples: list[dict[str, object]]


def describe_table(reader: TableReader, num_examples: int) -> Description:
    """Count and summarize the rows of a table.

    Raises:
        DamagedPart: a part is damaged.
    """
    kind = reader.schema.name
    columns = list(dict.fromkeys(COLUMNS[kind]))
    frames = [_slim(kind, batch) for batch in _batches(reader, columns)]
    frames = frames or [_slim(kind, reader.schema.arrow().empty_table().select(columns))]
    series = {name: pl.concat([frame[name] for frame in frames]) for name in frames[0]}
    return Description(_counts(kind, series), _distributions(kind, series), _examples(reader, num_examples))


def _batches(reader: TableReader, columns: list[str]) -> Iterator[pa.Table]:
    """The parts, several at a time where they are small."""
    waiting: list[pa.Table] = []
    size = 0
    for part in reader.parts(columns):
        waiting.append(part)
        size += part.nbytes
        if size >= BATCH_BYTES or len(waiting) == BATCH_PARTS:
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _slim(kind: str, batch: pa.Table) -> dict[str, pl.Series]:
    """By name what the counts and distributions are made of: numbers and words, no texts and no tokens."""
    frame = pl.DataFrame(pl.from_arrow(batch))
    if kind == "prompts":
        return {name: frame[name].is_not_null() for name in ("reference", "rejected")}
    if kind == "groups":
        view = flat_view(batch, {}, OF_SEQUENCES).filter(pl.col("source") == "sample")
        return {
            "references": frame["reference"].is_not_null(),
            "finish_reasons": frame["finish_reasons"].explode().cast(pl.Categorical),
            "policies": frame["policy"].unique(),
            "prompt_tokens": frame["prompt_token_ids"].list.len(),
            "reference_tokens": frame["reference_token_ids"].list.len(),
            "completion_tokens": view["num_tokens"],
            "mean_logprob": view["mean_logprob"],
        }
    if kind == "logprobs":
        samples = frame["sample_logprobs"].explode(empty_as_null=False)
        return {"mean_logprob": samples.list.mean(), "reference_mean_logprob": frame["reference_logprobs"].list.mean()}
    lists = {name: frame[name].explode() for name in ("rewards", "advantages", "statuses") if name in frame.columns}
    if "statuses" in lists:
        lists["statuses"] = lists["statuses"].cast(pl.Categorical)
    return lists | {name: frame[name] for name in GROUP_NUMBERS if name in frame.columns}


def _counts(kind: str, series: dict[str, pl.Series]) -> dict[str, object]:
    if kind == "prompts":
        return {name: int(values.sum()) for name, values in series.items()}
    if kind == "groups":
        return {
            "samples": len(series["completion_tokens"]),
            "references": int(series["references"].sum()),
            "references_without_tokens": int((series["references"] & series["reference_tokens"].is_null()).sum()),
            "finish_reasons": _by_word(series["finish_reasons"]),
            "policies": series["policies"].n_unique(),
        }
    if kind == "scores":
        return {"samples": len(series["rewards"]), "statuses": _by_word(series["statuses"])}
    if kind == "logprobs":
        return {"samples": len(series["mean_logprob"]), "references": series["reference_mean_logprob"].count()}
    return {
        "samples": len(series["advantages"]),
        "trained_samples": series["advantages"].count(),
        "zero_variance_groups": int((series["reward_std"] == 0.0).sum()),
    }


def _by_word(words: pl.Series) -> dict[str, int]:
    """Word → how often, in the order of the alphabet."""
    counts = words.value_counts().with_columns(pl.first().cast(pl.String))
    return dict(counts.sort(pl.first()).iter_rows())


def _distributions(kind: str, series: dict[str, pl.Series]) -> dict[str, dict[str, float | None]]:
    """Of token counts, rewards and advantages, as far as the table has them."""
    numbers = {name: values for name, values in series.items() if kind != "prompts" and values.dtype.is_numeric()}
    return {name: _describe(values.cast(pl.Float64)) for name, values in numbers.items()}


def _describe(values: pl.Series) -> dict[str, float | None]:
    quantiles = {"min": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "max": 1.0}
    ordered = values.sort()
    mean = values.mean()
    assert mean is None or isinstance(mean, float), "the values are float64"
    return {
        **{name: ordered.quantile(quantile, "nearest") for name, quantile in quantiles.items()},
        "mean": mean,
        "nulls": values.null_count(),
    }


def _examples(reader: TableReader, number: int) -> list[dict[str, object]]:
    rows = (row for index in range(reader.num_parts if number else 0) for row in reader.part(index).to_pylist())
    return [
        {name: _shorten(value, 0 if name.endswith(PER_TOKEN) else LONGEST_LIST) for name, value in row.items()}
        for row in islice(rows, number)
    ]


def _shorten(value: object, length: int) -> object:
    """Long lists and texts, shortened for display; where length is 0, of flat lists the number of elements alone."""
    if isinstance(value, dict):
        return {key: _shorten(item, length) for key, item in value.items()}
    if isinstance(value, list):
        if not length:
            is_flat = not any(isinstance(item, list) for item in value)
            return f"{len(value)} tokens" if is_flat else [_shorten(item, length) for item in value]
        short = [_shorten(item, length) for item in value[:length]]
        return [*short, f"… {len(value) - length} more"] if len(value) > length else short
    if isinstance(value, str) and len(value) > 300:
        return value[:300] + " …"
    return round(value, 4) if isinstance(value, float) else value
