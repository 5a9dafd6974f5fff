"""A directory of data files: which files make which split."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.json_text import read_json_file
from grao_pipeline.prompts.compression import COMPRESSIONS
from grao_pipeline.prompts.text_files import ENDINGS, ending
from grao_pipeline.prompts.typed_files import TYPED_ENDINGS

NOT_DATA = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "manifest.json"}
KNOWN_ENDINGS = (*ENDINGS, *TYPED_ENDINGS)
MOST_ENTRIES = 100_000
"""Files and folders that are looked at; hidden ones do not count."""


@dataclass(frozen=True)
class Layout:
    """The data files of a directory.

    Attributes:
        splits: paths by split.
        left_out: data files that belong to no split.
    """

    splits: dict[str, list[Path]]
    left_out: list[Path] = field(default_factory=list)


def data_files(directory: Path) -> list[Path]:
    """The files of a directory, at any depth, that have the ending of data; without hidden ones and descriptions.

    Raises:
        InputError: there are more files than any directory of data has: it may be e.g. the home directory.
    """
    paths: list[Path] = []
    num_entries = 0
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        num_entries += len(folders) + len(names)
        if num_entries > MOST_ENTRIES:
            raise InputError(
                f"{directory} holds more than {MOST_ENTRIES:,} files and folders. "
                "Name the folder of the data, or a file."
            )
        paths += [Path(folder, name) for name in names if not _is_hidden(name) and name not in NOT_DATA]
    return sorted(path for path in paths if ending(path) in KNOWN_ENDINGS and path.is_file())


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def saved_splits(directory: Path) -> dict[str, list[Path]] | None:
    """The Arrow files by split of a directory that `save_to_disk` of `datasets` wrote; None where it did not.

    Raises:
        InputError: a file that lists the others is damaged.
    """
    if (directory / "state.json").is_file():
        return {"train": _saved_files(directory)}
    if (directory / "dataset_dict.json").is_file():
        splits = _json(directory / "dataset_dict.json").get("splits")
        if isinstance(splits, list):
            return {str(split): _saved_files(directory / str(split)) for split in splits}
        raise InputError(f"{directory / 'dataset_dict.json'} names no splits.")
    return None


def refuse_several_kinds(directory: Path, read: list[Path], left_out: list[Path]) -> None:
    """Check that no file of another kind is left out: it may be a part of the data, or the same data once more.

    Raises:
        InputError: there is one; the message names files of both kinds.
    """
    others = [path for path in left_out if ending(path) != ending(read[0])]
    if others:
        raise InputError(
            f"{directory} has data files of several kinds: {_listed(read, directory)}, and "
            f"{_listed(others, directory)}. Name one file, or move those that you do not want to another directory."
        )


def _listed(paths: list[Path], directory: Path, most: int = 3) -> str:
    names = [relative_name(path, directory) for path in paths[:most]]
    return ", ".join(names) + (f" (and {len(paths) - most} more)" if len(paths) > most else "")


def _saved_files(directory: Path) -> list[Path]:
    entries = _json(directory / "state.json").get("_data_files")
    if not isinstance(entries, list) or not all(_names_file(entry) for entry in entries):
        raise InputError(f"{directory / 'state.json'} names no data files.")
    return [directory / entry["filename"] for entry in entries]


def _names_file(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("filename"), str)


def _json(path: Path) -> dict[str, object]:
    value = read_json_file(path)
    return value if isinstance(value, dict) else {}


def relative_name(path: Path, directory: Path) -> str:
    """The path of a file inside a directory; `datasets` makes paths absolute and resolves links."""
    for root in (directory, directory.absolute(), directory.resolve()):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
    return path.name


def unknown_ending(path: Path) -> InputError:
    """The error of a file whose ending is unknown."""
    return InputError(
        f"{path}: unknown ending. Known endings: {', '.join(KNOWN_ENDINGS)}; "
        f"text files may be compressed ({', '.join(COMPRESSIONS)})."
    )
