"""Some samples of every round as rows, for trackers that have tables."""

from collections.abc import Iterator, Set
from pathlib import Path

from grao_pipeline.storage.manifest_file import MANIFEST
from grao_pipeline.storage.reader import open_table
from grao_pipeline.tracking.sources import ROUND, Entry, places_of

MOST_ROWS = 100
"""Samples of a round: the groups of the first part, as far as they fit."""
RUN = "samples"
OF_GROUPS = ["group_id", "messages", "reference", "completions", "finish_reasons"]


def samples(folder: Path, known: Set[tuple[str, int]]) -> Iterator[Entry]:
    """The samples of the rounds whose advantages are computed, with their rewards.

    Args:
        known: (run, step) of those that are not read again.
    """
    for name, manifest in places_of(folder, MANIFEST).items():
        match = ROUND.search(name)
        if match is None or not name.endswith("/advantages"):
            continue
        variant = name.split("/")[0] if name.count("/") > 1 else ""
        run, step = "/".join(filter(None, (variant, RUN))), int(match[1])
        if (run, step) not in known:
            yield Entry(run, step, {}, list(_rows(manifest.parent)))


def _rows(advantages: Path) -> Iterator[dict[str, object]]:
    groups = open_table(str(advantages.with_name("generate")), "groups").part(0, OF_GROUPS).to_pylist()
    computed = open_table(str(advantages), "advantages").part(0, ["rewards", "advantages"]).to_pylist()
    left = MOST_ROWS
    for group, of_group in zip(groups, computed, strict=True):
        left -= len(group["completions"])
        if left < 0:
            return
        columns = (group["completions"], of_group["rewards"], of_group["advantages"], group["finish_reasons"])
        for completion, reward, advantage, reason in zip(*columns, strict=True):
            yield {
                "group": group["group_id"][:8],
                "prompt": group["messages"][-1]["content"],
                "completion": completion,
                "reward": reward,
                "advantage": advantage,
                "finish_reason": reason,
                "reference": group["reference"],
            }
