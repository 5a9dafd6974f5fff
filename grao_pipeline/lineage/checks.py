"""Everything that a fingerprint promises of one output, computed again from its bytes."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.errors import GraoError
from grao_pipeline.fingerprints import (
    adapter_fingerprint,
    fingerprint,
    group_fingerprint,
    model_fingerprint,
    prompt_fingerprint,
)
from grao_pipeline.lineage.catalog import Output
from grao_pipeline.models.manifest import read_trained_manifest, verify_log, verify_model
from grao_pipeline.models.pruned import has_no_weights
from grao_pipeline.pipeline import stages
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import Manifest, Provenance
from grao_pipeline.storage.manifest_file import read_manifest
from grao_pipeline.storage.parquet import read_provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.seal import has_seal, verify_seal

INTERNAL_STAGES = ("references-asked",)
"""Names of identities that are not commands."""
OF_PROMPTS = ("messages", "reference", "rejected", "metadata", "tools", "reference_reasoning")


def problems_of(output: Output) -> Iterator[str]:
    """What is wrong with an output, a sentence each, with the file."""
    if output.provenance is not None and not has_identity(output.provenance):
        yield f"{output.place}: the fingerprint is not that of the options and inputs that its manifest names."
    try:
        if output.kind == "model":
            yield from _problems_of_model(output.place)
        elif output.kind != "evaluation":  # an evaluation is one record, whose checksum was verified when it was read
            yield from _problems_of_table(output.place)
    except GraoError as error:
        yield str(error)


def has_identity(provenance: Provenance) -> bool:
    """Whether a fingerprint follows from the options and inputs next to it, as some stage computes it."""
    names = [*(stage.name for stage in stages()), *INTERNAL_STAGES]
    hashed = {"contract": provenance.contract, "options": provenance.options, "inputs": provenance.inputs}
    return any(fingerprint({**hashed, "stage": name}) == provenance.fingerprint for name in names)


def _problems_of_model(place: Path) -> Iterator[str]:
    manifest = read_trained_manifest(place)
    if manifest is None:
        return  # its fingerprint was computed from its bytes when it was found
    verify_model(place, manifest)
    if has_no_weights(place):
        pass  # deleted on purpose: the manifest says what they were
    elif (place / "adapter_config.json").is_file():
        adapter_fingerprint(place)
    elif model_fingerprint(place) != manifest.model:
        yield f"{place}: the fingerprint of the weights and config.json is not the one in its manifest."
    verify_log(place, manifest)


def _problems_of_table(place: Path) -> Iterator[str]:
    directory = Directory(place)
    manifest = read_manifest(directory)
    assert manifest is not None
    reader = open_table(str(place))
    for index, entry in enumerate(manifest.parts):
        where = directory.path(entry.name)
        try:
            part = reader.part(index)
            yield from _problems_of_part(directory, entry.name, manifest)
            yield from _problems_of_rows(part, reader, where)
        except GraoError as error:
            yield str(error)


def _problems_of_part(directory: Directory, name: str, manifest: Manifest) -> Iterator[str]:
    data, where = directory.read(name), directory.path(name)
    if has_seal(data):
        verify_seal(data, name, where)
    provenance = read_provenance(data, where)
    if provenance is None or provenance.fingerprint != manifest.provenance.fingerprint:
        yield f"{where} is a part of another table."


def _problems_of_rows(part: pa.Table, reader: TableReader, where: str) -> Iterator[str]:
    """Prompt IDs and group IDs that are not those of their rows. Imported groups are known by their source."""
    kind = reader.schema.name
    is_sampled = kind == "groups" and "model" in reader.provenance.inputs
    if kind != "prompts" and not is_sampled:
        return
    for row in part.to_pylist():
        if row["prompt_id"] != _prompt_id(row):
            yield f"{where}: prompt {row['prompt_id']} is not the hash of its row."
            return
        ids = row.get("completion_token_ids")
        if is_sampled and any(ids) and row["group_id"] != group_fingerprint(row["prompt_id"], row["policy"], ids):
            yield f"{where}: group {row['group_id']} is not the hash of its row."
            return


def _prompt_id(row: Row) -> str:
    messages, reference, rejected, metadata, tools, reasoning = (row[name] for name in OF_PROMPTS)
    return prompt_fingerprint(messages, reference, rejected, metadata, tools, reasoning)
