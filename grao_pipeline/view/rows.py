"""What a list shows of groups, from the columns that this needs alone."""

from collections.abc import Sequence
from typing import Any

from grao_pipeline.report.group_sets import COMBINED
from grao_pipeline.report.samples import OpenSet, excerpt, rounded
from grao_pipeline.view.queries import DIGITS

Json = dict[str, Any]
FLAGS = {"length": "cut off", "abort": "aborted"}


def list_rows(tables: OpenSet, positions: Sequence[int], reward: str) -> list[Json]:
    """Of every position its prompt's beginning, its rewards and what is odd about it, in this order."""
    by_position: dict[int, Json] = {}
    for part, entry in enumerate(tables.groups.parts):
        first = tables.groups.starts_at(part)
        inside = [position - first for position in positions if first <= position < first + entry.rows]
        for start, stop in _runs(inside):
            for offset, row in enumerate(_read(tables, part, start, stop, reward), first + start):
                by_position[offset] = {"at": offset, **row}
    return [by_position[position] for position in positions if position in by_position]


def _runs(rows: Sequence[int], gap: int = 64) -> list[tuple[int, int]]:
    """Stretches that hold these rows of a part, without long gaps."""
    runs: list[tuple[int, int]] = []
    for row in sorted(rows):
        if runs and row - runs[-1][1] < gap:
            runs[-1] = (runs[-1][0], row + 1)
        else:
            runs.append((row, row + 1))
    return runs


def _read(tables: OpenSet, part: int, start: int, stop: int, reward: str) -> list[Json]:
    groups = tables.groups.part(part, ["messages", "finish_reasons"], start, stop).to_pylist()
    statuses: list[list[list[str]]] = []
    for access in tables.scores.values():
        table = tables.companion(access, part, start, stop, ["statuses"])
        if table is not None:
            statuses.append(table.column("statuses").to_pylist())
    chosen = tables.advantages if reward == COMBINED else tables.scores.get(reward)
    table = tables.companion(chosen, part, start, stop, ["rewards", "reference_reward"]) if chosen else None
    scores = table.to_pylist() if table is not None else [None] * len(groups)
    rows = []
    for index, (group, score) in enumerate(zip(groups, scores, strict=True)):
        rewards = [float(f"{value:.6g}") for value in score["rewards"] if value is not None] if score else []
        odd = [FLAGS[reason] for reason in ("length", "abort") if reason in group["finish_reasons"]]
        odd += dict.fromkeys(status for column in statuses for status in column[index] if status != "ok")
        rows.append(
            {
                "excerpt": excerpt(group["messages"]),
                "rewards": rewards,
                "reference": rounded(score["reference_reward"]) if score else None,
                "mean": round(sum(rewards) / len(rewards), DIGITS) if rewards else None,
                "spread": round(max(rewards) - min(rewards), DIGITS) if rewards else None,
                "flags": odd,
            }
        )
    return rows
