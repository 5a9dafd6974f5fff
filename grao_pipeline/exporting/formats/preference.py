"""The format `preference`: pairs for TRL's DPOTrainer and RewardTrainer."""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.exporting.base import ExportFormat
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Answer, Group

Pair = tuple[Answer, Answer]


def rows(group: Group, options: ExportOptions, left_out: Counter[str]) -> Iterator[Row]:
    """At most one pair of a group."""
    left_out.update(group.left_out)
    pair = _pair(group, options)
    if isinstance(pair, str):
        left_out[pair] += 1
        return
    chosen, rejected = pair
    margin = None if None in (chosen.reward, rejected.reward) else (chosen.reward or 0.0) - (rejected.reward or 0.0)
    if chosen.turns == rejected.turns:
        left_out["both answers of a pair are the same"] += 1
    elif margin is not None and margin <= options.min_margin:
        left_out["the rewards of a pair do not differ by more than the margin"] += 1
    else:
        yield {
            **group.shared,
            "chosen": chosen.turns,
            "rejected": rejected.turns,
            "score_chosen": chosen.reward,
            "score_rejected": rejected.reward,
            "margin": margin,
            "group_id": group.row["group_id"],
        }


def _pair(group: Group, options: ExportOptions) -> Pair | str:
    """The pair of a group, or why it has none."""
    rated, reference = group.rated, group.reference
    if options.pair == "best-worst":
        return (rated[0], rated[-1]) if len(rated) > 1 else "fewer than two samples of a group can be paired"
    if reference is None:
        return "a group has no reference"
    if options.pair == "reference-rejected":
        rejected = group.row["rejected"]
        return "a group has no rejected answer" if rejected is None else (reference, Answer(rejected))
    if not rated:
        return "no sample of a group can be paired"
    return "the reference has no reward" if reference.reward is None else (reference, rated[-1])


def fields(turns: pa.DataType) -> list[tuple[str, pa.DataType]]:
    conversations = [(name, turns) for name in ("prompt", "chosen", "rejected")]
    numbers = [(name, pa.float32()) for name in ("score_chosen", "score_rejected", "margin")]
    return [*conversations, *numbers, ("group_id", pa.string())]


FORMAT = ExportFormat(
    "preference",
    "prompt, chosen, rejected: messages; score_chosen, score_rejected, margin: TRL's DPOTrainer",
    fields,
    rows,
    needs_rewards=lambda options: options.pair != "reference-rejected",
)
