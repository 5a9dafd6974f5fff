"""Models at an fsspec URL: what reads or trains one works on a copy in the user's cache directory."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from grao_pipeline.cache_directory import cache_directory
from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import InputError
from grao_pipeline.models.manifest import METRICS, MODEL_MANIFEST, read_model_manifest
from grao_pipeline.progress import Progress
from grao_pipeline.storage.directory import Directory

Summary = TypeVar("Summary")


def is_url(model: str) -> bool:
    """Whether a model is named by a URL."""
    return "://" in model


def working_copy(url: str) -> Path:
    """The directory of this machine that stands for a model at a URL: a training into the URL works there, too."""
    return cache_directory() / "models" / bytes_checksum(url.rstrip("/").encode())[:32]


def download_model(url: str) -> Path:
    """The working copy, which is that of the URL afterwards. A file that is there already is not copied again.

    Raises:
        InputError: there is no model at the URL, or it does not answer.
    """
    remote, copy = Directory(url), working_copy(url)
    names = remote.names()
    if "config.json" not in names and "adapter_config.json" not in names:
        raise InputError(f"Model {url!r}: there is no model at this URL (no config.json).")
    manifest = remote.read(MODEL_MANIFEST) if MODEL_MANIFEST in names else None
    local = Directory(copy)
    if manifest is not None and local.exists(MODEL_MANIFEST) and local.read(MODEL_MANIFEST) == manifest:
        return copy
    local.delete(MODEL_MANIFEST)
    for name in names:
        if name != MODEL_MANIFEST:
            remote.download(name, copy / name)
    if manifest is not None:
        local.write(MODEL_MANIFEST, manifest)
    return copy


def upload_model(copy: Path, url: str) -> None:
    """Copy a trained model to a URL, its manifest last.

    Raises:
        InputError: the store refuses.
    """
    manifest = read_model_manifest(copy)
    assert manifest is not None, "a model is uploaded once it is finished"
    remote = Directory(url)
    for name in {*manifest.files, METRICS}:
        if (copy / name).is_file():
            remote.upload(copy / name, name)
    remote.write(MODEL_MANIFEST, (copy / MODEL_MANIFEST).read_bytes())


def made_in_copy(url: str, make: Callable[[str], Summary], progress: Progress, uploads: bool = True) -> Summary:
    """What `make` returns of the working copy of a URL, to which the finished model is copied. What was stopped is
    resumed on the same machine.

    Args:
        uploads: whether this process copies; of several ranks one does.
    """
    copy = working_copy(url)
    if has_model(url):
        with progress.track(f"reading {url}"):
            download_model(url)
    summary = make(str(copy))
    if uploads and not has_model(url):
        with progress.track(f"writing {url}"):
            upload_model(copy, url)
    return summary


def has_model(url: str) -> bool:
    """Whether a finished training lies at a URL."""
    return Directory(url).exists(MODEL_MANIFEST)
