"""Reading through Hugging Face `datasets`: hub ids, and the splits of a directory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from grao_pipeline.errors import InputError
from grao_pipeline.plugins import require
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.canonical import without_nan
from grao_pipeline.prompts.text_files import Rows
from grao_pipeline.prompts.typed_files import BATCH_ROWS, holds_bytes
from grao_pipeline.storage.arrow_errors import arrow_errors

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


def read_hub(dataset_id: str, subset: str | None, split: str, progress: Progress) -> Rows:
    """The rows of one split of a hub dataset, `name` or `name@revision`. The dataset stays in the user's cache, as
    `datasets` always does.

    Raises:
        InputError: the dataset does not exist, cannot be reached, or has no such subset or split.
    """
    name, _, revision = dataset_id.partition("@")
    with _loading(f"dataset '{dataset_id}' (no local file or directory has that name)") as datasets:
        dataset = datasets.load_dataset(name, subset, split=split, revision=revision or None)
    yield from _rows(dataset, progress)


def directory_splits(directory: Path, subset: str | None) -> dict[str, list[Path]]:
    """The data files of a directory by split, according to `datasets`.

    E.g. `train.jsonl` and `test.jsonl`, folders `train/` and `test/`, or the YAML head of a README.md.

    Raises:
        InputError: the directory has no data files, or no such subset.
    """
    with tempfile.TemporaryDirectory(prefix="grao-prompts-") as cache, _loading(str(directory)) as datasets:
        # An absolute path: `datasets` would take a directory named "json" for the loader of that name.
        builder = datasets.load_dataset_builder(str(directory.resolve()), subset, cache_dir=cache)
    return {str(split): [Path(file) for file in files] for split, files in builder.config.data_files.items()}


def _rows(dataset: "Dataset | IterableDataset", progress: Progress) -> Rows:
    """Plain Python rows, without columns of bytes (images, audio): neither a prompt nor JSON can hold them."""
    binary = [field.name for field in dataset.features.arrow_schema if holds_bytes(field.type)]
    if binary:
        progress.warn(f"Ignoring columns of binary data: {', '.join(binary)}.")
    with arrow_errors("the dataset", lambda reason: InputError(f"Cannot read the dataset: {reason}.")):
        for batch in dataset.remove_columns(binary).iter(batch_size=BATCH_ROWS):
            for values in zip(*batch.values(), strict=True):
                yield {name: without_nan(value) for name, value in zip(batch, values, strict=True)}


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
