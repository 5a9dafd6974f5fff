"""The name of a source (a hub dataset, a local file or directory, a URL) → its rows, and which files they are in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.directories import (
    KNOWN_ENDINGS,
    Layout,
    data_files,
    refuse_several_kinds,
    relative_name,
    saved_splits,
    unknown_ending,
)
from grao_pipeline.prompts.hub import directory_splits, read_hub
from grao_pipeline.prompts.remote import is_url, local_copy
from grao_pipeline.prompts.text_files import Rows, ending, read_text_file
from grao_pipeline.prompts.typed_files import TYPED_ENDINGS, read_typed_files

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?(@[\w./-]+)?")
"""With the revision: a branch, a tag or a commit."""


@dataclass(frozen=True)
class Source:
    """An opened source.

    Attributes:
        rows: those of one split, in order.
        files: the names of the files that they are in, relative to a directory; empty for a hub dataset.
        other_splits: further splits of the source.
        left_out: data files of a directory that belong to no split.
    """

    rows: Rows
    files: tuple[str, ...] = ()
    other_splits: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@contextmanager
def open_source(source: str, split: str, subset: str | None, progress: Progress) -> Iterator[Source]:
    """Open one split of a source. A local path takes precedence over a hub dataset of the same name.

    Args:
        split: a file has one split, `train`; a directory or a hub dataset may have several.
        subset: configuration of a hub dataset, or of a directory whose README.md defines some.

    Raises:
        InputError: the source, subset or split does not exist or cannot be read; files of several kinds.
        UsageError: a subset of a single file.
    """
    if is_url(source):
        with local_copy(source, progress) as copy:
            yield _open_path(copy, source, split, subset, progress)
        return
    path = local_path(source)
    if path is not None:
        yield _open_path(path, source, split, subset, progress)
    else:
        yield Source(read_hub(source, subset, split, progress))


def local_path(source: str) -> Path | None:
    """The file or directory that a source is; None for a URL or a dataset of the hub.

    Raises:
        InputError: the source is a path, and nothing is there.
    """
    path = Path(source).expanduser()
    if is_url(source):
        return None
    if path.exists():
        return path
    if _looks_like_path(source):
        raise InputError(f"{source}: no such file or directory.")
    return None


def _open_path(path: Path, source: str, split: str, subset: str | None, progress: Progress) -> Source:
    if not path.is_dir():
        if subset is not None:
            raise UsageError(f"{source} is a single file, which has no subset '{subset}'.", option="subset")
        return _open_files(path.parent, source, Layout({"train": [path]}), split, progress)
    saved = saved_splits(path)
    return _open_files(path, source, Layout(saved) if saved else _layout(path, subset), split, progress)


def _layout(directory: Path, subset: str | None) -> Layout:
    """The splits of a directory, by the rules of `datasets`; what these leave out is not lost without a word."""
    present = data_files(directory)
    splits = directory_splits(directory, subset)
    if subset is not None:
        return Layout(splits)
    used = {path.resolve() for paths in splits.values() for path in paths}
    return Layout(splits, [path for path in present if path.resolve() not in used])


def _open_files(directory: Path, source: str, layout: Layout, split: str, progress: Progress) -> Source:
    if split not in layout.splits:
        raise InputError(f"{source} has no split '{split}'. It has: {', '.join(layout.splits)}.")
    paths = layout.splits[split]
    for path in paths:
        if ending(path) not in KNOWN_ENDINGS:
            raise unknown_ending(path)
    refuse_several_kinds(directory, paths, layout.left_out)
    if layout.left_out:
        names = ", ".join(relative_name(path, directory) for path in layout.left_out)
        progress.warn(f"{source}: files that belong to no split are left out: {names}.")
    return Source(
        read_typed_files(paths, progress) if ending(paths[0]) in TYPED_ENDINGS else _concatenated(paths, progress),
        tuple(relative_name(path, directory) for path in paths),
        tuple(name for name in layout.splits if name != split),
        tuple(relative_name(path, directory) for path in layout.left_out),
    )


def _concatenated(paths: list[Path], progress: Progress) -> Rows:
    for path in paths:
        yield from read_text_file(path, progress)


def _looks_like_path(source: str) -> bool:
    return HUB_ID.fullmatch(source) is None or ending(Path(source)) in KNOWN_ENDINGS
