"""Weights and optimizer states that were deleted on purpose: the rest of the model says what it was, and that it was.

`pruned.json` names the deleted files. It is written before they are deleted, so that none passes for damaged.
"""

from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record, write_record

PRUNED = "pruned.json"
WEIGHTS = ".safetensors"


def pruned_files(directory: Path) -> frozenset[str]:
    """The files of a model that were deleted, by their paths in its directory; empty for any other model.

    Raises:
        DamagedPart: the record is damaged.
    """
    value = read_record(Directory(directory), PRUNED) if (directory / PRUNED).is_file() else None
    return frozenset() if value is None else frozenset(value["files"])


def has_no_weights(directory: Path) -> bool:
    """Whether the weights of a model or adapter were deleted."""
    return any(name.endswith(WEIGHTS) for name in pruned_files(directory))


def refuse_without_weights(directory: Path) -> None:
    """Raises InputError: the weights were deleted."""
    if has_no_weights(directory):
        raise InputError(
            f"The weights of {directory} were deleted by grao rounds prune (or by keep: in the rounds). To use them "
            "again delete this directory and train again: grao rounds run makes it, and nothing else, once more."
        )


def prune_files(directory: Path, names: list[str]) -> int:
    """Delete files of a model; the bytes that are freed. What is deleted already, is left."""
    deleted = sorted({*pruned_files(directory), *names})
    write_record(Directory(directory), PRUNED, {"files": deleted})
    freed = 0
    for name in deleted:
        path = directory / name
        if path.is_file():
            freed += path.stat().st_size
            path.unlink()
    return freed
