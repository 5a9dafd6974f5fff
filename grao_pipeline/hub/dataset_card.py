"""The card of tables, with a configuration that the viewer of the hub and `datasets` read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from grao_pipeline.hub.card_text import front_matter, settings, table
from grao_pipeline.storage.reader import TableReader

PARTS = "part-*.parquet"


def dataset_card(tables: Mapping[str, TableReader], repository: str, license_name: str | None) -> str:
    """The text of README.md.

    Args:
        tables: by the folder in the repository; the empty name for a table at its root.
    """
    readers = list(tables.values())
    kinds = list(dict.fromkeys(reader.schema.name for reader in readers))
    head = {
        "license": license_name,
        "task_categories": ["text-generation"],
        "tags": ["grao", "grao-pipeline", *kinds],
        "size_categories": [_size(sum(reader.num_rows for reader in readers))],
        "configs": configurations(tables),
    }
    sections = [section for name, reader in tables.items() for section in _section(name, reader)]
    return "\n".join(
        [
            front_matter(head),
            f"# {repository.rpartition('/')[2]}\n",
            "Tables of grao-pipeline ([GRAO](https://arxiv.org/abs/2508.07750)): Parquet that `datasets`, Polars and "
            f"DuckDB open, and that the stages of `grao` read as `hf://datasets/{repository}`.\n",
            *sections,
        ]
    )


def configurations(tables: Mapping[str, TableReader]) -> list[dict[str, object]]:
    """Tables of one kind are splits of one configuration; others are configurations of one split each."""
    paths = {name: f"{name}/{PARTS}" if name else PARTS for name in tables}
    if len({reader.schema.name for reader in tables.values()}) == 1:
        files = [{"split": name or "train", "path": path} for name, path in paths.items()]
        return [{"config_name": "default", "data_files": files}]
    return [{"config_name": name, "data_files": [{"split": "train", "path": path}]} for name, path in paths.items()]


def _section(name: str, reader: TableReader) -> Sequence[str]:
    provenance = reader.provenance
    present = set(reader.part(0).column_names) if reader.num_parts else set()
    columns = [(column.name, column.doc) for column in reader.schema.columns if column.name in present]
    facts = [
        ("rows", f"{reader.num_rows:,}"),
        ("fingerprint", provenance.fingerprint),
        ("options", settings(provenance.options)),
        ("made from", settings(provenance.inputs)),
        ("contract", str(provenance.contract)),
    ]
    title = name or Path(reader.url).name
    return [
        f"## {title}: {reader.schema.name}\n",
        table(["what", "value"], facts),
        table(["column", "meaning"], columns),
    ]


def _size(rows: int) -> str:
    """The category of the hub."""
    bounds = (("n<1K", 1e3), ("1K<n<10K", 1e4), ("10K<n<100K", 1e5), ("100K<n<1M", 1e6), ("1M<n<10M", 1e7))
    return next((name for name, bound in bounds if rows < bound), "n>10M")
