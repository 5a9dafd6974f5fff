"""The name of a source (a hub dataset, a local file or a local directory) → its rows."""

import re
from pathlib import Path

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.hub import TYPED_BUILDERS, directory_splits, read_hub, read_typed_files
from grao_pipeline.prompts.text_files import COMPRESSIONS, ENDINGS, Rows, ending, read_text_file

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
KNOWN_ENDINGS = (*ENDINGS, *TYPED_BUILDERS)


def read_rows(source: str, split: str, subset: str | None, progress: Progress) -> Rows:
    """The rows of `split`, in order. A local path takes precedence over a hub dataset of the same name.

    Args:
        split: a file has one split, `train`; a directory or a hub dataset may have several.
        subset: configuration of a hub dataset, or of a directory whose README.md defines some.

    Raises:
        InputError: the source, subset or split does not exist or cannot be read.
        UsageError: a subset of a single file.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_files(source, directory_splits(path, subset), split, progress)
    if path.is_file():
        if subset is not None:
            raise UsageError(f"{source} is a single file, which has no subset '{subset}'.", option="subset")
        return _read_files(source, {"train": [path]}, split, progress)
    if _looks_like_path(source):
        raise InputError(f"{source}: no such file or directory.")
    return read_hub(source, subset, split, progress)


def _read_files(source: str, splits: dict[str, list[Path]], split: str, progress: Progress) -> Rows:
    if split not in splits:
        raise InputError(f"{source} has no split '{split}'. It has: {', '.join(splits)}.")
    paths = splits[split]
    for path in paths:
        if ending(path) not in KNOWN_ENDINGS:
            raise InputError(
                f"{path}: unknown ending. Known endings: {', '.join(KNOWN_ENDINGS)}; "
                f"text files may be compressed ({', '.join(COMPRESSIONS)})."
            )
    if paths[0].suffix.lower() in TYPED_BUILDERS:
        return read_typed_files(paths, progress)
    return _concatenated(paths)


def _concatenated(paths: list[Path]) -> Rows:
    for path in paths:
        yield from read_text_file(path)


def _looks_like_path(source: str) -> bool:
    return HUB_ID.fullmatch(source) is None or ending(Path(source)) in KNOWN_ENDINGS
