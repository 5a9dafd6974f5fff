"""The format `kto`: every sample with a label, for TRL's KTOTrainer."""

from collections import Counter
from collections.abc import Iterator
from statistics import fmean

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.exporting.base import ExportFormat
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Group


def rows(group: Group, options: ExportOptions, left_out: Counter[str]) -> Iterator[Row]:
    """The samples of a group, in their order, each desirable or not."""
    left_out.update(group.left_out)
    rated = [(answer, answer.reward) for answer in group.answers if answer.reward is not None]
    rewards = [reward for _, reward in rated]
    mean = fmean(rewards) if rated else 0.0
    for answer, reward in rated:
        is_at_mean = reward == mean or min(rewards) == max(rewards)
        if options.threshold is None and is_at_mean:
            left_out["the reward of a sample is the mean of its group"] += 1
            continue
        label = reward > mean if options.threshold is None else reward >= options.threshold
        common = {"label": label, "reward": reward, "group_id": group.row["group_id"]}
        yield {**group.shared, "completion": answer.turns, **common}


def fields(turns: pa.DataType) -> list[tuple[str, pa.DataType]]:
    columns = [("prompt", turns), ("completion", turns), ("label", pa.bool_())]
    return [*columns, ("reward", pa.float32()), ("group_id", pa.string())]


FORMAT = ExportFormat("kto", "prompt, completion: messages; label: true or false, for TRL's KTOTrainer", fields, rows)
