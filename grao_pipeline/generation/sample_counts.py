"""Number of samples per prompt: `--samples`, unless a file, the prompts table or the metadata say otherwise."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.files import check_file
from grao_pipeline.generation.options import MOST_SAMPLES, GenerateOptions
from grao_pipeline.json_text import parse_object

READERS: dict[str, Callable[[str], pl.DataFrame]] = {
    ".jsonl": pl.read_ndjson,
    ".csv": pl.read_csv,
    ".parquet": pl.read_parquet,
}


class SampleCounts:
    """The number of samples per prompt.

    Raises:
        UsageError: `--samples-file` has an unknown suffix.
        InputError: `--samples-file` cannot be read, or has a wrong row.
    """

    def __init__(self, options: GenerateOptions) -> None:
        self._samples = options.samples
        self._field = options.samples_field
        self._by_prompt_id = read_samples_file(options.samples_file)

    def samples(self, prompt: Row) -> int:
        """Samples of a row of the prompts table: the file's number, else the table's, else that of its metadata, else
        `--samples`.

        Raises:
            InputError: the number is not a whole number from 0 to `MOST_SAMPLES`.
        """
        count, where = self._by_prompt_id.get(prompt["prompt_id"]), ""
        if count is None:
            count, where = prompt.get("samples"), "column 'samples'"
        if count is None and self._field is not None:
            count, where = parse_object(prompt["metadata"]).get(self._field), f"metadata '{self._field}'"
        if count is None:
            return self._samples
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_SAMPLES:
            raise InputError(
                f"Prompt {prompt['prompt_id']}: {where} is {count!r}, not a number of samples, 0 to {MOST_SAMPLES}."
            )
        return count


def read_samples_file(path: str | None) -> dict[str, int]:
    """prompt_id → samples, from a JSONL, CSV or Parquet file; empty where `path` is None.

    Raises:
        UsageError: the file has another suffix.
        InputError: it cannot be read, lacks a column, repeats a prompt ID, or has a number below 0.
    """
    if path is None:
        return {}
    read = READERS.get(Path(path).suffix)
    if read is None:
        raise UsageError(f"{path} does not end in {', '.join(READERS)}.", option="samples_file")
    if "://" not in path:
        check_file(path)
    try:
        frame = read(path).select(pl.col("prompt_id").cast(pl.String), pl.col("samples").cast(pl.Int64))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"Cannot read the columns prompt_id and samples of --samples-file {path}: {error}") from error
    wrong = frame.filter(
        ~pl.col("samples").is_between(0, MOST_SAMPLES) | pl.col("samples").is_null() | pl.col("prompt_id").is_null()
    )
    if len(wrong):
        raise InputError(f"--samples-file {path}: {wrong.row(0)} is not a prompt ID and a number of samples.")
    repeated = frame.filter(pl.col("prompt_id").is_duplicated())
    if len(repeated):
        raise InputError(f"--samples-file {path}: prompt ID {repeated.item(0, 'prompt_id')} appears twice.")
    return dict(frame.iter_rows())
