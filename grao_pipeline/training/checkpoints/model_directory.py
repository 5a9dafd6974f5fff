"""The directory of a trained model: Hugging Face files, and a manifest that is written last."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from grao_pipeline.fingerprints import model_fingerprint
from grao_pipeline.models.manifest import METRICS, ModelManifest, read_model_manifest, verify_model
from grao_pipeline.models.stored import has_model
from grao_pipeline.storage.atomic import sync
from grao_pipeline.storage.file_records import FileRecord, record_files
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.places import Place, Url


def is_complete(out: Place) -> bool:
    """Whether a directory holds a finished training, every file of which is as it was written; the files at a URL
    are verified when they are copied from there.

    Raises:
        InputError, MismatchError: as `read_model_manifest` and `verify_model`.
    """
    if isinstance(out, Url):
        return has_model(str(out))
    manifest = read_model_manifest(out)
    if manifest is not None:
        verify_model(out, manifest)
    return manifest is not None


def write_files(
    out: Path,
    save: Callable[[str], None],
    provenance: Provenance,
    summary: Callable[[], dict[str, object]],
    folder: Path | None = None,
    identity: Callable[[Path], str] = model_fingerprint,
) -> ModelManifest:
    """Fill `out` with the files of a model; the manifest last.

    Args:
        save: writes them to a directory.
        summary: of the work, once it is done.
        folder: of more files, which is moved in and is a part of the model.
        identity: the fingerprint of the weights in a directory.
    """
    names = [*_move_in(out, save), *_move_folder(out, folder)]
    log = FileRecord.of(out / METRICS) if (out / METRICS).is_file() else None
    manifest = ModelManifest(provenance, identity(out), summary(), record_files(out, names), log)
    manifest.write(out)
    return manifest


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


def _move_folder(out: Path, folder: Path | None) -> list[str]:
    """Move a folder `.NAME.tmp` to `out/NAME`; the names of its files."""
    if folder is None:
        return []
    target = out / folder.name.removeprefix(".").removesuffix(".tmp")
    if target.exists():
        shutil.rmtree(target)
    os.replace(folder, target)
    return sorted(str(path.relative_to(out)) for path in target.rglob("*") if path.is_file())


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
