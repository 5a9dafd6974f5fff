"""The format `verl`: prompts, for `data.train_files=FILE.parquet`."""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.exporting.base import ExportFormat
from grao_pipeline.exporting.ground_truth import data_source, ground_truth
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Group


def rows(group: Group, options: ExportOptions, left_out: Counter[str]) -> Iterator[Row]:
    """One row of a prompt, whose answer is the ground truth of a rule."""
    answer = ground_truth(group, options)
    if answer is None:
        left_out["the metadata of a prompt has no answer (--answer-field)"] += 1
        return
    yield {
        "data_source": data_source(group, options),
        "prompt": group.messages,
        "ability": str(group.metadata.get("ability", "")),
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"prompt_id": group.row["prompt_id"], "reference": group.row["reference"]},
    }


def fields(turns: pa.DataType) -> list[tuple[str, pa.DataType]]:
    text = pa.string()
    return [
        ("data_source", text),
        ("prompt", turns),
        ("ability", text),
        ("reward_model", pa.struct([("style", text), ("ground_truth", text)])),
        ("extra_info", pa.struct([("prompt_id", text), ("reference", text)])),
    ]


FORMAT = ExportFormat(
    "verl",
    "prompt: messages; data_source, ability, reward_model, extra_info: prompts for verl",
    fields,
    rows,
    needs_samples=False,
    needs_rewards=lambda options: False,
)
