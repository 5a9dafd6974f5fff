"""The manifest of a trained model: what was trained, and the files with their checksums. It is written last."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.models.pruned import pruned_files
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.file_records import FileRecord, FileRecords, first_difference, parse_records
from grao_pipeline.storage.json_record import CHECKSUM, read_record, write_record
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import MANIFEST, part_files, read_manifest

METRICS = "metrics.jsonl"
MODEL_MANIFEST = "manifest.json"
REMEDY = "Restore it, or delete the directory and train again."


@dataclass(frozen=True)
class ModelManifest:
    """The record of a finished training."""

    provenance: Provenance
    model: str
    """Fingerprint of the trained weights: the `policy` of the groups that they sample."""
    summary: Mapping[str, Any]
    files: FileRecords
    """Every file of the model."""
    log: FileRecord | None = None
    """The log of the training (`metrics.jsonl`), which is not part of the model; None in older manifests."""

    def write(self, directory: Path) -> None:
        """Write `manifest.json`, with a checksum of itself.

        Raises:
            InputError: it cannot be written.
        """
        files = {name: asdict(record) for name, record in self.files.items()}
        value = {**asdict(self.provenance), "model": self.model, "summary": dict(self.summary), "files": files}
        if self.log is not None:
            value["log"] = asdict(self.log)
        write_record(Directory(directory), MODEL_MANIFEST, value, indent=1)


def read_model_manifest(directory: Path) -> ModelManifest | None:
    """The manifest of a finished training; None where the directory has none.

    Raises:
        InputError: it is damaged.
        MismatchError: the directory holds a table.
    """
    table = read_manifest(Directory(directory)) if _is_table(directory) else None
    if table is not None:
        raise _not_a_model(directory, table.provenance.table)
    path = directory / MODEL_MANIFEST
    try:
        value = read_record(Directory(directory), MODEL_MANIFEST)
    except DamagedPart as error:
        raise InputError(f"{error} {REMEDY}") from error
    if value is None:
        return None
    try:
        provenance = Provenance.from_dict(value, str(path))
        if provenance.table != "model":
            raise _not_a_model(directory, provenance.table)
        log = FileRecord(**value["log"]) if "log" in value else None
        return ModelManifest(provenance, value["model"], value["summary"], parse_records(value["files"]), log)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}). {REMEDY}") from error


def verify_model(directory: Path, manifest: ModelManifest) -> None:
    """Hold the files of a trained model against its manifest; those that were pruned need not be there.

    Raises:
        InputError: a file is not the one that was written.
    """
    try:
        deleted = pruned_files(directory)
    except DamagedPart as error:
        raise InputError(f"{error} {REMEDY}") from error
    records = {name: record for name, record in manifest.files.items() if name not in deleted}
    problem = first_difference(directory, records)
    if problem is not None:
        raise InputError(
            f"{problem}. {REMEDY} If you changed it on purpose, delete {directory / MODEL_MANIFEST}: the directory is "
            "then a model like any other."
        )


def verify_log(directory: Path, manifest: ModelManifest) -> None:
    """Hold the log of a training against its manifest; no model needs it.

    Raises:
        InputError: it is not the one that was written.
    """
    problem = None if manifest.log is None else first_difference(directory, {METRICS: manifest.log})
    if problem is not None:
        raise InputError(f"{problem}. Restore it; the model itself is not concerned.")


def verify_where_trained(directory: Path) -> None:
    """Verify a model or adapter before it is used; one that no training of ours wrote cannot be verified.

    Raises:
        InputError: its manifest is damaged, or a file is not the one that was written.
    """
    manifest = read_trained_manifest(directory)
    if manifest is not None:
        verify_model(directory, manifest)


def read_trained_manifest(directory: Path) -> ModelManifest | None:
    """The manifest of a model; None where no training of ours wrote the model.

    Raises:
        InputError: it is damaged.
    """
    return None if _is_foreign(directory / MODEL_MANIFEST) else read_model_manifest(directory)


def _is_foreign(path: Path) -> bool:
    """Whether a manifest.json is certainly one of other software: an object with none of our keys."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not {CHECKSUM, "contract", "fingerprint"} & value.keys()


def _is_table(directory: Path) -> bool:
    return (directory / MANIFEST).is_file() or bool(part_files(Directory(directory)))


def _not_a_model(directory: Path, kind: str) -> MismatchError:
    return MismatchError(f"{directory} holds a table of kind '{kind}', not a model. Choose another directory.")
