"""Groups and their scores, read as one record per prompt: all that the metrics need, without texts or tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.flat_view import columns_to_read, flat_view
from grao_pipeline.errors import InputError
from grao_pipeline.progress import Bar
from grao_pipeline.storage.table_pair import TablePair, refuse_other_sample_counts

NO_VALUE = "(none)"


@dataclass(frozen=True)
class ScoredPrompt:
    """The scored samples of one prompt.

    Example: `ScoredPrompt([1.0, None], 0.5, [12, 9], 0.5)`
    """

    rewards: list[float | None]
    reference_reward: float | None
    num_tokens: list[int]
    truncated: float
    """The share of samples that ended at the token limit."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The requested fields as text; `(none)` where the prompt has no such field."""
    num_unscored: int = 0
    """Samples that should have a reward, and have none."""


NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True)
class ScoredPrompts:
    """The prompts that the reward is meant for, by their ID."""

    prompts: dict[str, ScoredPrompt]
    num_not_applicable: int
    """Prompts of other tasks: no sample of theirs is one that the reward is meant for."""


def read_scored_prompts(tables: TablePair, bar: Bar, fields: Sequence[str] = ()) -> ScoredPrompts:
    """The scored samples by prompt ID.

    Args:
        fields: of the metadata, to read.

    Raises:
        InputError: a prompt has two groups.
        MismatchError: a group does not have one reward per sample.
    """
    prompts: dict[str, ScoredPrompt] = {}
    others: set[str] = set()
    columns = ["prompt_id", *columns_to_read(["num_tokens"]), *(["metadata"] if fields else [])]
    for groups, scores in tables.parts(columns, ["rewards", "reference_reward", "statuses"]):
        refuse_other_sample_counts(groups, scores, tables.companion.url)
        for prompt_id, reasons, num_tokens, score, metadata in zip(
            groups.column("prompt_id").to_pylist(),
            groups.column("finish_reasons").to_pylist(),
            _sampled_tokens(groups),
            scores.to_pylist(),
            _metadata(groups, fields),
            strict=True,
        ):
            if prompt_id in prompts or prompt_id in others:
                raise InputError(
                    f"{tables.groups.url} has two groups of prompt {prompt_id}; an evaluation counts every "
                    "prompt once. Keep one group per prompt."
                )
            if set(score["statuses"]) == {NOT_APPLICABLE}:
                others.add(prompt_id)
                continue
            prompts[prompt_id] = ScoredPrompt(
                rewards=score["rewards"],
                reference_reward=score["reference_reward"],
                num_tokens=num_tokens,
                truncated=reasons.count("length") / len(reasons),
                metadata=metadata,
                num_unscored=_num_unscored(score),
            )
        bar.advance(1, prompts=len(prompts))
    return ScoredPrompts(prompts, len(others))


def _num_unscored(score: Mapping[str, Any]) -> int:
    pairs = zip(score["rewards"], score["statuses"], strict=True)
    return sum(reward is None and status != NOT_APPLICABLE for reward, status in pairs)


def _metadata(groups: pa.Table, fields: Sequence[str]) -> list[dict[str, str]]:
    if not fields:
        return [{} for _ in range(groups.num_rows)]
    rows = [json.loads(text) for text in groups.column("metadata").to_pylist()]
    return [{name: _text(row.get(name)) for name in fields} for row in rows]


def _text(value: object) -> str:
    if value is None:
        return NO_VALUE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _sampled_tokens(groups: pa.Table) -> list[list[int]]:
    """Number of tokens that the policy sampled, of every sample of every group."""
    view = flat_view(groups, {}, ["num_tokens", "source"]).filter(pl.col("source") == "sample")
    sizes: list[list[int]] = view.group_by("row", maintain_order=True).agg("num_tokens")["num_tokens"].to_list()
    return sizes
