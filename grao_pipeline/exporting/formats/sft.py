"""The format `sft`: the best samples of a group, for TRL's SFTTrainer."""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.exporting.base import ExportFormat
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Answer, Group


def rows(group: Group, options: ExportOptions, left_out: Counter[str]) -> Iterator[Row]:
    """The best `options.best` different samples of a group."""
    left_out.update(group.left_out)
    written: list[Answer] = []
    for answer in group.rated:
        if options.min_reward is not None and (answer.reward or 0.0) < options.min_reward:
            left_out["a sample has a reward below --min-reward"] += 1
        elif any(answer.turns == other.turns for other in written):
            left_out["a sample is the same as a better one"] += 1
        elif len(written) == options.best:
            left_out["a sample is not among the best"] += 1
        else:
            written.append(answer)
            common = {"reward": answer.reward, "group_id": group.row["group_id"]}
            yield {**group.shared, "completion": answer.turns, **common}


def fields(turns: pa.DataType) -> list[tuple[str, pa.DataType]]:
    return [("prompt", turns), ("completion", turns), ("reward", pa.float32()), ("group_id", pa.string())]


FORMAT = ExportFormat("sft", "prompt, completion: messages; reward: the best of n, for TRL's SFTTrainer", fields, rows)
