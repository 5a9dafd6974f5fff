"""The directory of a trained model: Hugging Face files, metrics, and a manifest that is written last."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.fingerprints import file_checksum, model_fingerprint
from grao_pipeline.storage.manifest import MANIFEST, Provenance

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class ModelManifest:
    """What a finished training says of itself.

    Attributes:
        model: fingerprint of the trained weights, the `policy` of groups that they sample.
        summary: the training's summary.
        files: SHA-256 of every model file.
    """

    provenance: Provenance
    model: str
    summary: dict[str, Any]
    files: dict[str, str]


def read_model_manifest(out: Path) -> ModelManifest | None:
    """The manifest of a finished training in `out`, or None.

    Raises:
        InputError: it is damaged.
        MismatchError: `out` holds something else.
    """
    path = out / MANIFEST
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text())
        provenance = Provenance.from_dict(value, str(path))
        if provenance.table != "model":
            raise MismatchError(f"{out} holds a '{provenance.table}' table, not a model. Choose another directory.")
        return ModelManifest(provenance, value["model"], value["summary"], value["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}).") from error


def write_model(
    out: Path, model: Any, tokenizer: Any, provenance: Provenance, summary: dict[str, Any]
) -> ModelManifest:
    """Save weights, config, tokenizer and chat template in `out`; the manifest last."""
    temporary = out / f".model.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(str(temporary))
    tokenizer.save_pretrained(str(temporary))
    names = sorted(path.name for path in temporary.iterdir())
    for name in names:
        os.replace(temporary / name, out / name)
    temporary.rmdir()
    manifest = ModelManifest(
        provenance, model_fingerprint(out), summary, {name: file_checksum(out / name) for name in names}
    )
    value = {**asdict(provenance), "model": manifest.model, "summary": summary, "files": manifest.files}
    _write_atomically(out / MANIFEST, json.dumps(value, indent=1, sort_keys=True) + "\n")
    for leftover in out.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    return manifest


class MetricsLog:
    """`metrics.jsonl`: one line per optimizer step. On resume, lines behind the checkpoint are cut off."""

    def __init__(self, out: Path, first_step: int) -> None:
        self._path = out / METRICS
        kept = []
        if self._path.is_file():
            for line in self._path.read_text().splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    break
                if record["step"] <= first_step:
                    kept.append(line + "\n")
        _write_atomically(self._path, "".join(kept))

    def append(self, record: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
