"""The directory of a trained model: Hugging Face files, metrics, and a manifest that is written last."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.fingerprints import file_checksum, model_fingerprint
from grao_pipeline.models.source import locate_model
from grao_pipeline.storage.atomic import sync, write_atomically
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import MANIFEST, read_manifest
from grao_pipeline.training.checkpoints.companions import save_weights, write_companions

METRICS = "metrics.jsonl"
MODEL_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ModelManifest:
    """The record of a finished training."""

    provenance: Provenance
    model: str
    """Fingerprint of the trained weights: the `policy` of the groups that they sample."""
    summary: dict[str, Any]
    files: dict[str, str]
    """SHA-256 of every model file."""


def read_model_manifest(out: Path) -> ModelManifest | None:
    """The manifest of a finished training in `out`, or None.

    Raises:
        InputError: it is damaged.
        MismatchError: `out` holds a table.
    """
    table = read_manifest(Directory(out)) if (out / MANIFEST).is_file() else None
    if table is not None:
        raise _not_a_model(out, table.provenance.table)
    path = out / MODEL_MANIFEST
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text())
        provenance = Provenance.from_dict(value, str(path))
        if provenance.table != "model":
            raise _not_a_model(out, provenance.table)
        return ModelManifest(provenance, value["model"], value["summary"], value["files"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}). Choose another directory, or delete this one.") from error


def _not_a_model(out: Path, kind: str) -> MismatchError:
    return MismatchError(f"{out} holds a table of kind '{kind}', not a model. Choose another directory.")


def is_complete(out: Path) -> bool:
    """Whether a directory holds a finished training.

    Raises:
        InputError, MismatchError: as `read_model_manifest`.
    """
    return read_model_manifest(out) is not None


def write_model(
    out: Path, model: Any, tokenizer: Any, base: Path, provenance: Provenance, summary: dict[str, object]
) -> ModelManifest:
    """Save weights, config, tokenizer, chat template and the base's other small files in `out`; the manifest last.

    Args:
        base: directory of the model that was trained.
    """

    def save(directory: str) -> None:
        save_weights(directory, model)
        write_companions(Path(directory), model, tokenizer, base)

    names = _move_in(out, save)
    return _finish(out, names, model_fingerprint(out), provenance, summary)


def write_adapter(
    out: Path, model: Any, base: Path, provenance: Provenance, summary: dict[str, object]
) -> ModelManifest:
    """Save the LoRA adapter of a peft model in `out`; the manifest last.

    Args:
        base: directory of the base model; the manifest's fingerprint is that of the policy of
            `grao generate --model BASE --adapter OUT`.
    """

    def save(directory: str) -> None:
        model.save_pretrained(directory)
        (Path(directory) / "README.md").unlink(missing_ok=True)  # peft's empty model card

    names = _move_in(out, save)
    return _finish(out, names, locate_model(str(base), str(out)).fingerprint, provenance, summary)


def _move_in(out: Path, save: Callable[[str], None]) -> list[str]:
    """Write files by `save` to a temporary directory, then move them to `out` one by one; their names."""
    temporary = out / f".model.{os.getpid()}.tmp"
    try:
        save(str(temporary))
        names = sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file())
        for name in names:
            sync(temporary / name)
            (temporary / name).chmod(0o666 & ~_umask())  # safetensors writes files that only their owner can read
        for name in names:
            (out / name).parent.mkdir(exist_ok=True)
            os.replace(temporary / name, out / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return names


def _finish(
    out: Path, names: list[str], model: str, provenance: Provenance, summary: dict[str, object]
) -> ModelManifest:
    manifest = ModelManifest(provenance, model, summary, {name: file_checksum(out / name) for name in names})
    value = {**asdict(provenance), "model": manifest.model, "summary": summary, "files": manifest.files}
    write_atomically(out / MODEL_MANIFEST, f"{json.dumps(value, indent=1, sort_keys=True)}\n".encode())
    return manifest


class MetricsLog:
    """`metrics.jsonl`: one line per optimizer step. On resume, lines of steps after the checkpoint are removed.

    Attributes:
        earlier: the records of the steps up to the checkpoint.
    """

    def __init__(self, out: Path, first_step: int) -> None:
        self._path = out / METRICS
        self.earlier: list[dict[str, Any]] = []
        if self._path.is_file():
            for line in self._path.read_text().splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    break
                if record["step"] <= first_step:
                    self.earlier.append(record)
        write_atomically(self._path, "".join(json.dumps(record) + "\n" for record in self.earlier).encode())

    def append(self, record: Mapping[str, object]) -> None:
        """Add the record of a step.

        Raises:
            OSError: it cannot be written.
        """
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        sync(self._path)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def remove_temporaries(directory: Path) -> None:
    """Delete the half-written files and directories of killed runs."""
    for leftover in directory.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
