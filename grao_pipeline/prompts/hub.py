"""Reading through Hugging Face `datasets`: hub ids, typed files, and the splits of a directory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from grao_pipeline.errors import InputError
from grao_pipeline.plugins import require
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.text_files import Rows

BATCH_ROWS = 1000
SAVED_DATASET_FILES = ("state.json", "dataset_dict.json")
TYPED_BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}


def read_hub(dataset_id: str, subset: str | None, split: str, progress: Progress) -> Rows:
    """The rows of one split of a hub dataset. The dataset stays in the user's cache, as `datasets` always does.

    Raises:
        InputError: the dataset does not exist, cannot be reached, or has no such subset or split.
    """
    with _loading(f"dataset '{dataset_id}' (no local file or directory has that name)") as datasets:
        dataset = datasets.load_dataset(dataset_id, subset, split=split)
    yield from _rows(dataset, progress)


def read_typed_files(paths: list[Path], progress: Progress) -> Rows:
    """The rows of Parquet or Arrow files, through a private cache that is deleted afterwards.

    Raises:
        InputError: a file is damaged, or the files' columns differ.
    """
    builder = TYPED_BUILDERS[paths[0].suffix.lower()]
    files = [str(path.resolve()) for path in paths]
    with tempfile.TemporaryDirectory(prefix="grao-prompts-") as cache:
        with _loading(", ".join(files)) as datasets:
            dataset = datasets.load_dataset(builder, data_files=files, split="train", cache_dir=cache)
        yield from _rows(dataset, progress)


def directory_splits(directory: Path, subset: str | None) -> dict[str, list[Path]]:
    """The data files of a directory by split, according to `datasets`.

    E.g. `train.jsonl` and `test.jsonl`, folders `train/` and `test/`, or the YAML head of a README.md.

    Raises:
        InputError: the directory has no data files, or no such subset.
    """
    if any((directory / name).is_file() for name in SAVED_DATASET_FILES):
        raise InputError(
            f"{directory} was written by save_to_disk, whose files only `datasets` can read. "
            "Write it as Parquet: load_from_disk(…).to_parquet(…)."
        )
    with tempfile.TemporaryDirectory(prefix="grao-prompts-") as cache, _loading(str(directory)) as datasets:
        # An absolute path: `datasets` would take a directory named "json" for the loader of that name.
        builder = datasets.load_dataset_builder(str(directory.resolve()), subset, cache_dir=cache)
    return {str(split): [Path(file) for file in files] for split, files in builder.config.data_files.items()}


def _rows(dataset: Any, progress: Progress) -> Rows:
    """Plain Python rows, without columns of bytes (images, audio): neither a prompt nor JSON can hold them."""
    binary = [field.name for field in dataset.features.arrow_schema if _holds_bytes(field.type)]
    if binary:
        progress.warn(f"Ignoring columns of binary data: {', '.join(binary)}.")
    for batch in dataset.remove_columns(binary).iter(batch_size=BATCH_ROWS):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _holds_bytes(type_: pa.DataType) -> bool:
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return True
    return any(_holds_bytes(type_.field(index).type) for index in range(type_.num_fields))


@contextmanager
def _loading(what: str) -> Iterator[ModuleType]:
    """The module `datasets`, without bars and logs; its many exceptions become InputError."""
    datasets = require("datasets")
    had_bars = not datasets.are_progress_bars_disabled()
    loggers = (datasets.utils.logging, require("huggingface_hub").utils.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    try:
        datasets.disable_progress_bars()
        for logger in loggers:
            logger.set_verbosity(logger.CRITICAL)
        yield datasets
    # RuntimeError: the dataset is a script. StopIteration: it has no rows.
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, StopIteration) as error:
        message = str(error.__cause__ or error) or "it has no rows"
        raise InputError(f"Cannot load {what}: {message}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        if had_bars:
            datasets.enable_progress_bars()
