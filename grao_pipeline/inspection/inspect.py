"""`grao inspect`: describe a table, model or evaluation."""

from dataclasses import dataclass, field
from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.evaluation.record import METRICS, read_evaluation
from grao_pipeline.fingerprints import read_config
from grao_pipeline.inspection.options import InspectOptions
from grao_pipeline.inspection.tables import describe_table
from grao_pipeline.models.manifest import read_trained_manifest
from grao_pipeline.models.source import locate_model
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import has_manifest, part_files
from grao_pipeline.storage.parquet import column_names
from grao_pipeline.storage.reader import TableReader, open_table, tables_inside

# Most specific first: a groups table has all columns of a prompts table.
KINDS = ("groups", "advantages", "scores", "logprobs", "prompts")


@dataclass(frozen=True)
class Inspection:
    """A description of one directory.

    Attributes:
        kind: `prompts`, `groups`, `scores`, `advantages`, `logprobs`, `model` or `evaluation`.
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
        raise InputError(
            f"{path} does not exist. Give the directory of a table, a model or an evaluation, or a Parquet file."
        )
    if directory.exists(METRICS):
        return _inspect_evaluation(path)
    if directory.exists("config.json"):
        return _inspect_model(path)
    if has_manifest(path):
        return _inspect_table(open_table(path), options)
    return _inspect_table(open_table(path, options.table or _foreign_kind(path)), options)


def _inspect_table(reader: TableReader, options: InspectOptions) -> Inspection:
    description = describe_table(reader, options.examples)
    provenance = reader.provenance
    return Inspection(
        path=reader.url,
        kind=reader.schema.name,
        counts={
            "rows": reader.num_rows,
            "parts": reader.num_parts,
            "bytes": sum(part.bytes for part in reader.manifest.parts),
            **description.counts,
        },
        columns={column.name: (str(column.type), column.doc) for column in reader.schema.columns},
        provenance={
            "fingerprint": provenance.fingerprint,
            "options": provenance.options,
            "inputs": provenance.inputs,
            "details": provenance.details,
            "versions": provenance.versions,
        },
        distributions=description.distributions,
        examples=description.examples,
    )


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
        counts |= {name: manifest.summary[name] for name in ("steps", "groups_trained") if name in manifest.summary}
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
            f"{path} holds neither a table (Parquet files), nor a model (config.json), nor an evaluation ({METRICS}). "
            "For a run as a whole: grao report, grao view, grao rounds status."
        )
    columns = set(column_names(directory.read(files[0]), directory.path(files[0])))
    for kind in KINDS:
        if {column.name for column in TABLES[kind].columns if not column.nullable} <= columns:
            return kind
    raise InputError(
        f"{path} has the columns {', '.join(sorted(columns))}: these are not enough for any kind of table."
    )
