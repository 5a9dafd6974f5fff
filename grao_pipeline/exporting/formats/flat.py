"""The format `flat`: a row per sequence, to look at with any tool; nothing is left out."""

from collections import Counter
from collections.abc import Iterator, Mapping

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.exporting.base import ExportFormat
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Group

PER_SAMPLE = {"rewards": "reward", "advantages": "advantage", "statuses": "status", "masked_by": "masked_by"}
OF_SAMPLES = {"completions": "text", "reasoning": "reasoning", "answers": "answer", "finish_reasons": "finish_reason"}


def rows(group: Group, options: ExportOptions, left_out: Counter[str]) -> Iterator[Row]:
    """The samples of a group in their order, then its reference."""
    row, companion = group.row, group.companion
    shared = {name: row[name] for name in ("group_id", "prompt_id", "tools", "metadata", "policy", "round")}
    shared["prompt"] = group.messages
    for place, ids in enumerate(row["completion_token_ids"]):
        mask = None if row["completion_masks"] is None else row["completion_masks"][place]
        num_tokens = len(ids) if mask is None else sum(mask)
        values = {"source": "sample", "sample": place, "num_tokens": num_tokens}
        yield {**shared, **values, **_at(row, OF_SAMPLES, place), **_at(companion, PER_SAMPLE, place)}
    if row["reference"] is not None:
        ids = row["reference_token_ids"]
        yield {
            **shared,
            "source": "reference",
            "text": row["reference"],
            "reasoning": row["reference_reasoning"],
            "num_tokens": None if ids is None else len(ids),
            "reward": companion.get("reference_reward"),
            "advantage": companion.get("reference_advantage"),
        }


def _at(lists: Row, names: Mapping[str, str], place: int) -> Row:
    """What parallel lists hold at one place, by the name of one element."""
    return {one: lists[many][place] for many, one in names.items() if lists.get(many) is not None}


def fields(turns: pa.DataType) -> list[tuple[str, pa.DataType]]:
    text, number, count = pa.string(), pa.float32(), pa.int32()
    ids = [("group_id", text), ("prompt_id", text), ("source", text), ("sample", count), ("prompt", turns)]
    texts = [(name, text) for name in ("tools", "text", "reasoning", "answer", "finish_reason")]
    judged = [("num_tokens", count), ("reward", number), ("status", text), ("advantage", number), ("masked_by", text)]
    return [*ids, *texts, *judged, ("policy", text), ("round", count), ("metadata", text)]


FORMAT = ExportFormat(
    "flat",
    "a row per sequence: prompt, text, reward, advantage, finish_reason, num_tokens, policy, round, metadata",
    fields,
    rows,
    needs_rewards=lambda options: False,
)
