"""`grao inspect`: describe a table, model or evaluation."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from grao_pipeline.advantages.flat_view import columns_to_read, flat_view
from grao_pipeline.errors import InputError
from grao_pipeline.evaluation.evaluate import METRICS, read_evaluation
from grao_pipeline.fingerprints import read_config
from grao_pipeline.inspection.options import InspectOptions
from grao_pipeline.models.manifest import read_trained_manifest
from grao_pipeline.models.source import locate_model
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import has_manifest, part_files
from grao_pipeline.storage.parquet import column_names
from grao_pipeline.storage.reader import TableReader, open_table, tables_inside

# Most specific first: a groups table has all columns of a prompts table.
KINDS = ("groups", "advantages", "scores", "prompts")


@dataclass(frozen=True)
class Inspection:
    """A description of one directory.

    Attributes:
        kind: `prompts`, `groups`, `scores`, `advantages`, `model` or `evaluation`.
        counts: rows, parts and other counts.
        columns: name → (type, meaning); empty for a model or an evaluation.
        provenance: fingerprint, options and inputs, as far as known.
        distributions: name → min, quantiles, mean, max and number of nulls.
        examples: a few rows, shortened.
    """

    path: str
    kind: str
    counts: dict[str, object]
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)
    provenance: dict[str, object] = field(default_factory=dict)
    distributions: dict[str, dict[str, float | None]] = field(default_factory=dict)
    examples: list[dict[str, object]] = field(default_factory=list)


def inspect_path(path: str, options: InspectOptions) -> Inspection:
    """Describe a directory.

    Example:
        inspect_path("runs/groups", InspectOptions(examples=1)).counts["samples"]

    Raises:
        InputError: the directory holds neither a table, nor a model, nor an evaluation.
    """
    directory = Directory(path)
    if "://" not in path and not Path(path).exists():
        raise InputError(f"{path} does not exist.")
    if directory.exists(METRICS):
        return _inspect_evaluation(path)
    if directory.exists("config.json"):
        return _inspect_model(path)
    if has_manifest(path):
        return _inspect_table(open_table(path), options)
    return _inspect_table(open_table(path, options.table or _foreign_kind(path)), options)


def _inspect_table(reader: TableReader, options: InspectOptions) -> Inspection:
    frame = reader.polars()
    provenance = reader.provenance
    return Inspection(
        path=reader.url,
        kind=reader.schema.name,
        counts={
            "rows": reader.num_rows,
            "parts": reader.num_parts,
            "bytes": sum(part.bytes for part in reader.manifest.parts),
            **_counts(frame, reader.schema.name),
        },
        columns={column.name: (str(column.type), column.doc) for column in reader.schema.columns},
        provenance={
            "fingerprint": provenance.fingerprint,
            "options": provenance.options,
            "inputs": provenance.inputs,
            "details": provenance.details,
            "versions": provenance.versions,
        },
        distributions=_distributions(frame, reader),
        examples=[
            {name: _shorten(value) for name, value in row.items()} for row in frame.head(options.examples).to_dicts()
        ],
    )


def _counts(frame: pl.DataFrame, kind: str) -> dict[str, object]:
    if kind == "prompts":
        return {"references": frame["reference"].count(), "rejected": frame["rejected"].count()}
    if kind == "groups":
        reasons = frame["finish_reasons"].explode().value_counts()
        return {
            "samples": frame["finish_reasons"].list.len().sum(),
            "references": frame["reference_token_ids"].count(),
            "finish_reasons": dict(reasons.sort("finish_reasons").iter_rows()),
            "policies": frame["policy"].n_unique(),
        }
    if kind == "scores":
        statuses = frame["statuses"].explode().value_counts()
        return {"samples": frame["rewards"].list.len().sum(), "statuses": dict(statuses.sort("statuses").iter_rows())}
    return {
        "samples": frame["advantages"].list.len().sum(),
        "trained_samples": frame["advantages"].explode().count(),
        "zero_variance_groups": int((frame["reward_std"] == 0.0).sum()),
    }


def _distributions(frame: pl.DataFrame, reader: TableReader) -> dict[str, dict[str, float | None]]:
    """Of token counts, rewards and advantages, as far as the table has them."""
    series: dict[str, pl.Series] = {}
    for name in ("prompt_token_ids", "reference_token_ids"):
        if name in frame.columns:
            series[name.replace("_ids", "s")] = frame[name].list.len()
    if "completion_token_ids" in frame.columns:
        series |= _of_samples(reader)
    for name in ("rewards", "advantages"):
        if name in frame.columns:
            series[name] = frame[name].explode()
    for name in ("reference_reward", "reference_advantage", "reward_mean", "reward_std"):
        if name in frame.columns:
            series[name] = frame[name]
    return {name: _describe(values.cast(pl.Float64)) for name, values in series.items()}


def _of_samples(groups: TableReader) -> dict[str, pl.Series]:
    """Number and mean log-prob of the tokens that the policy sampled, of every sample."""
    names = ["source", "num_tokens", "mean_logprob"]
    samples = flat_view(groups.arrow(columns_to_read(names)), {}, names).filter(pl.col("source") == "sample")
    return {"completion_tokens": samples["num_tokens"], "mean_logprob": samples["mean_logprob"]}


def _describe(values: pl.Series) -> dict[str, float | None]:
    quantiles = {"min": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "max": 1.0}
    mean = values.mean()
    assert mean is None or isinstance(mean, float), "the values are float64"
    return {
        **{name: values.quantile(quantile, "nearest") for name, quantile in quantiles.items()},
        "mean": mean,
        "nulls": values.null_count(),
    }


def _inspect_model(path: str) -> Inspection:
    if not Path(path).is_dir():
        raise InputError(f"{path} is a model that is not in a local directory. Download it first.")
    source = locate_model(path)
    config = read_config(source.directory / "config.json")
    names = ("architectures", "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings", "dtype")
    counts = {name: config[name] for name in names if name in config}
    counts["weight_bytes"] = sum(item.stat().st_size for item in source.directory.glob("*.safetensors"))
    provenance: dict[str, object] = {"fingerprint": source.fingerprint}
    manifest = read_trained_manifest(source.directory)
    if manifest is not None:
        training = manifest.provenance
        provenance |= {"training": training.fingerprint, "options": training.options, "inputs": training.inputs}
        counts |= {name: manifest.summary[name] for name in ("steps", "groups_trained")}
    return Inspection(path, "model", counts, provenance=provenance)


def _inspect_evaluation(path: str) -> Inspection:
    summary = read_evaluation(path)
    assert summary is not None
    return Inspection(
        path=path,
        kind="evaluation",
        counts={"prompts": summary.prompts, "unpaired_prompts": summary.unpaired_prompts},
        provenance={"fingerprint": summary.fingerprint},
        distributions={name: dict(metric) for name, metric in summary.metrics.items() if metric is not None},
    )


def _foreign_kind(path: str) -> str:
    """The kind of table whose required columns a foreign table has."""
    directory = Directory(path.rpartition("/")[0] or ".") if path.endswith(".parquet") else Directory(path)
    files = [path.rpartition("/")[2]] if path.endswith(".parquet") else part_files(directory)
    if not files and tables_inside(path):
        open_table(path)  # says which tables are inside
    if not files or not directory.exists(files[0]):
        raise InputError(
            f"{path} holds neither a table (Parquet files), nor a model (config.json), nor an evaluation ({METRICS})."
        )
    columns = set(column_names(directory.read(files[0]), directory.path(files[0])))
    for kind in KINDS:
        if {column.name for column in TABLES[kind].columns if not column.nullable} <= columns:
            return kind
    raise InputError(
        f"{path} has the columns {', '.join(sorted(columns))}: these are not enough for any kind of table."
    )


def _shorten(value: object, length: int = 12) -> object:
    """Long lists and texts, shortened for display."""
    if isinstance(value, dict):
        return {key: _shorten(item) for key, item in value.items()}
    if isinstance(value, list):
        short = [_shorten(item) for item in value[:length]]
        return [*short, f"… {len(value) - length} more"] if len(value) > length else short
    if isinstance(value, str) and len(value) > 300:
        return value[:300] + " …"
    return round(value, 4) if isinstance(value, float) else value
