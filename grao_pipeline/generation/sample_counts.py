"""How many samples each prompt gets: `--samples`, unless its metadata or a file says otherwise."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.generation.options import GenerateOptions

READERS: dict[str, Callable[[str], pl.DataFrame]] = {
    ".jsonl": pl.read_ndjson,
    ".csv": pl.read_csv,
    ".parquet": pl.read_parquet,
}


class SampleBudget:
    """The number of samples per prompt.

    Raises:
        InputError: the file is not one with the columns `prompt_id` and `samples`.
    """

    def __init__(self, options: GenerateOptions) -> None:
        self._samples = options.samples
        self._field = options.samples_field
        self._of_prompt = read_samples_file(options.samples_file)

    def samples(self, prompt: Mapping[str, Any]) -> int:
        """Samples of a row of the prompts table: the file's number, else its metadata's, else `--samples`.

        Raises:
            InputError: the metadata's number is not a natural one.
        """
        found = self._of_prompt.get(prompt["prompt_id"])
        if found is None and self._field is not None:
            found = json.loads(prompt["metadata"]).get(self._field)
        if found is None:
            return self._samples
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise InputError(
                f"Prompt {prompt['prompt_id']}: metadata '{self._field}' is {found!r}, not a number of samples."
            )
        return found


def read_samples_file(path: str | None) -> dict[str, int]:
    """prompt_id → samples, of a JSONL, CSV or Parquet file; empty where `path` is None.

    Raises:
        UsageError: another kind of file.
        InputError: it cannot be read, lacks a column, repeats a prompt, or holds a number below 0.
    """
    if path is None:
        return {}
    read = READERS.get(Path(path).suffix)
    if read is None:
        raise UsageError(f"--samples-file {path}: expected a file that ends in {', '.join(READERS)}.")
    try:
        frame = read(path).select(pl.col("prompt_id").cast(pl.String), pl.col("samples").cast(pl.Int64))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"--samples-file {path}: columns prompt_id and samples are needed ({error}).") from error
    wrong = frame.filter(pl.col("samples").is_null() | (pl.col("samples") < 0) | pl.col("prompt_id").is_null())
    if len(wrong):
        raise InputError(f"--samples-file {path}: {wrong.row(0)} is not a prompt_id and a number of samples.")
    repeated = frame.filter(pl.col("prompt_id").is_duplicated())
    if len(repeated):
        raise InputError(f"--samples-file {path}: prompt {repeated.item(0, 'prompt_id')} appears twice.")
    return dict(frame.iter_rows())
