"""Groups with scores, and the command's advantages of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.advantages.summary import AdvantagesSummary
from grao_pipeline.storage.reader import open_table
from tests import tiny

Rewards = Sequence[float | None]


@dataclass
class Group:
    """One group: its samples' rewards and the reference's, by the reward's name or of reward `r` alone."""

    rewards: Rewards | dict[str, Rewards]
    reference: float | dict[str, float | None] | None = None
    prompt: str = ""
    has_reference: bool = True
    token_ids: list[list[int]] | None = None
    finish_reasons: list[str] | None = None
    round: int = 0
    policy: str = "p" * 32
    extra: dict[str, Any] = field(default_factory=dict)


def write(path: Path, groups: Sequence[Group], rows_per_part: int = 4) -> tuple[str, dict[str, str]]:
    """The groups table and one scores table per reward, by name."""
    rows: list[dict[str, Any]] = []
    scores: dict[str, list[dict[str, Any]]] = {}
    for number, group in enumerate(groups):
        rewards = group.rewards if isinstance(group.rewards, dict) else {"r": group.rewards}
        references = group.reference if isinstance(group.reference, dict) else {"r": group.reference}
        size = len(next(iter(rewards.values())))
        ids = group.token_ids or [[5 + index, number, 2] for index in range(size)]
        reference = "y" if group.has_reference else None
        row = tiny.group_row(group.prompt or f"q{number}", ["x"] * size, reference, group.policy, ids)
        row |= {"round": group.round, **({"finish_reasons": group.finish_reasons} if group.finish_reasons else {})}
        rows.append(row)
        for name, values in rewards.items():
            statuses = ["error" if value is None else "ok" for value in values]
            score = {"group_id": row["group_id"], "rewards": list(values), "statuses": statuses}
            scores.setdefault(name, []).append(score | {"reference_reward": references[name]})
    url = tiny.write_table(path / "groups", "groups", rows, rows_per_part)
    inputs = {"groups": open_table(url).fingerprint}
    scores_urls = {
        name: tiny.write_table(path / name, "scores", of_name, rows_per_part, inputs=inputs, options={"name": name})
        for name, of_name in scores.items()
    }
    return url, scores_urls


def compute(
    path: Path,
    groups: Sequence[Group],
    rows_per_part: int = 4,
    pool: Sequence[tuple[str, str]] = (),
    weights: dict[str, float] | None = None,
    **options: Any,
) -> tuple[list[tuple[list[float | None], float | None]], AdvantagesSummary]:
    """(advantages of the samples, of the reference) per group, and the summary."""
    url, scores_urls = write(path, groups, rows_per_part)
    scores = [
        WeightedScores(url=scores_url, weight=(weights or {}).get(name, 1.0))
        for name, scores_url in scores_urls.items()
    ]
    out = str(path / "out")
    chosen = AdvantagesOptions(scores=scores, pool=list(pool), **options)
    summary = compute_advantages(url, out, chosen)
    rows = open_table(out, "advantages").arrow().to_pylist()
    return [(row["advantages"], row["reference_advantage"]) for row in rows], summary
