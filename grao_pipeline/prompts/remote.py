"""A source at a URL → a private copy of it, which is deleted afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import fsspec

from grao_pipeline.errors import InputError
from grao_pipeline.progress import Progress


def is_url(source: str) -> bool:
    """Whether a source is named by a URL, e.g. `https://…`, `s3://…`, `hf://…`."""
    return "://" in source


@contextmanager
def local_copy(url: str, progress: Progress) -> Iterator[Path]:
    """A local copy of the file or directory at a URL, under its name. Errors about the copy name the URL.

    Raises:
        InputError: the URL cannot be read; the message says why.
    """
    with tempfile.TemporaryDirectory(prefix="grao-prompts-") as directory:
        copy = Path(directory) / _name(url)
        with progress.track(f"fetching {url}"):
            _fetch(url, copy)
        try:
            yield copy
        except InputError as error:
            raise type(error)(str(error).replace(str(copy), url)) from error


def _name(url: str) -> str:
    """The name of a file at a URL: its ending says what it is."""
    try:
        return PurePosixPath(urlsplit(url).path.rstrip("/")).name or "source"
    except ValueError as error:
        raise InputError(f"Cannot read {url}: {error}.") from error


def _fetch(url: str, copy: Path) -> None:
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        # A URL of the web has no directories, and its question mark is not a wildcard.
        if not url.startswith(("http://", "https://")) and filesystem.isdir(path):
            filesystem.get(f"{path.rstrip('/')}/", str(copy), recursive=True)
        else:
            filesystem.get_file(path, str(copy))
    except ImportError as error:
        raise InputError(f"Cannot read {url}: {error}. A package for this kind of URL is missing.") from error
    except FileNotFoundError as error:
        raise InputError(f"Cannot read {url}: there is no such file.") from error
    except Exception as error:  # every driver (aiohttp, botocore, …) raises its own classes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"Cannot read {url}: {reason}.") from error
