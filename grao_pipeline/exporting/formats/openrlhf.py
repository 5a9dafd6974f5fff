"""The format `openrlhf`: prompts, for `--prompt_data`, `--input_key input`, `--label_key label`, chat template."""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.exporting.base import ExportFormat
from grao_pipeline.exporting.ground_truth import data_source, ground_truth
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Group


def rows(group: Group, options: ExportOptions, left_out: Counter[str]) -> Iterator[Row]:
    """One row of a prompt; the label of a prompt without an answer is empty."""
    answer = ground_truth(group, options)
    label = "" if answer is None else answer
    common = {"label": label, "datasource": data_source(group, options), "prompt_id": group.row["prompt_id"]}
    yield {"input": group.messages, **common}


def fields(turns: pa.DataType) -> list[tuple[str, pa.DataType]]:
    return [("input", turns), *((name, pa.string()) for name in ("label", "datasource", "prompt_id"))]


FORMAT = ExportFormat(
    "openrlhf",
    "input: messages; label, datasource: prompts for OpenRLHF, with --input_key input --label_key label",
    fields,
    rows,
    needs_samples=False,
    needs_rewards=lambda options: False,
)
