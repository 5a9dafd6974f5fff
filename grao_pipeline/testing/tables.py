"""Tables of the contract from plain Python rows, so that a test begins at the stage that it is about."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from grao_pipeline.fingerprints import group_fingerprint, prompt_fingerprint, stage_fingerprint
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter

Row = dict[str, Any]


def prompt_row(text: str, reference: str | None = None, **metadata: object) -> Row:
    """A row of a prompts table: one turn of a user.

    Args:
        metadata: what the reward needs, e.g. `answer="42"`.

    Example: `prompt_row("What is 6 · 7?", "It is 42.", answer="42")`
    """
    messages = [{"role": "user", "content": text}]
    packed = json.dumps(metadata, sort_keys=True)
    return {
        "prompt_id": prompt_fingerprint(messages, reference, None, packed),
        "messages": messages,
        "reference": reference,
        "rejected": None,
        "metadata": packed,
    }


def group_row(
    text: str,
    completions: Sequence[str],
    reference: str | None = "the reference",
    policy: str = "p" * 32,
    token_ids: Sequence[Sequence[int]] | None = None,
    **metadata: object,
) -> Row:
    """A row of a groups table. Its token ids and log-probs are made up, so that it can be scored but says nothing to a
    model, unless `token_ids` are given.

    Args:
        policy: fingerprint of the weights that sampled.
        token_ids: of each completion.

    Example: `group_row("What is 6 · 7?", ["42", "41"], "It is 42.", answer="42")`
    """
    prompt = prompt_row(text, reference, **metadata)
    ids = [list(row) for row in token_ids] if token_ids else [[5 + i, 6 + i, 2] for i in range(len(completions))]
    return {
        **prompt,
        "group_id": group_fingerprint(prompt["prompt_id"], policy, ids),
        "prompt_token_ids": [1, 7, 8],
        "reference_token_ids": None if reference is None else [9, 10, 11, 2],
        "completions": list(completions),
        "completion_token_ids": ids,
        "completion_logprobs": [[-1.0] * len(row) for row in ids],
        "finish_reasons": ["stop"] * len(ids),
        "policy": policy,
        "round": 0,
        "retokenized": None,
    }


def score_row(group_id: str, rewards: Sequence[float | None], reference_reward: float | None = None) -> Row:
    """A row of a scores table; a reward that is None has the status `error`."""
    return {
        "group_id": group_id,
        "rewards": list(rewards),
        "reference_reward": reference_reward,
        "statuses": ["error" if reward is None else "ok" for reward in rewards],
        "details": None,
    }


def write_table(
    path: str | Path,
    table: str,
    rows: Sequence[Mapping[str, object]],
    rows_per_part: int = 4,
    *,
    fingerprint: str | None = None,
    options: Mapping[str, object] | None = None,
    inputs: Mapping[str, object] | None = None,
) -> str:
    """Write rows as a complete table, as a stage would: parts, checksums, manifest.

    Args:
        table: its kind: `prompts`, `groups`, `scores` or `advantages`.
        fingerprint: of the table; by default that of its rows.
        options, inputs: its provenance, e.g. `inputs={"groups": …}`, the fingerprint of the groups of a scores table.

    Returns:
        `path`, for the stages.

    Example: `write_table(tmp_path / "prompts", "prompts", [prompt_row("Say hello.", "Hello!")])`
    """
    plain = [dict(row) for row in rows]
    identity = fingerprint or stage_fingerprint("test", {}, {"rows": plain})
    num_parts = -(-len(plain) // rows_per_part)
    writer = TableWriter(str(path), Provenance(table, identity, dict(options or {}), dict(inputs or {})), num_parts)
    for index in writer.missing():
        part = plain[index * rows_per_part : (index + 1) * rows_per_part]
        writer.write(index, pa.Table.from_pylist(part, schema=TABLES[table].arrow()))
    writer.finish()
    return str(path)


def write_groups(
    path: str | Path,
    completions: Mapping[str, Sequence[str]],
    reference: str | None = "the reference",
    **metadata: Any,
) -> str:
    """Write a groups table with one group per prompt, for a test of a reward.

    Args:
        completions: prompt → its sampled answers.
        reference: of every prompt.
        metadata: of every prompt.

    Returns:
        `path`, for `score_groups`.

    Example: `write_groups(tmp_path / "groups", {"What is 6 · 7?": ["42", "41"]}, answer="42")`
    """
    rows = [group_row(prompt, answers, reference, **metadata) for prompt, answers in completions.items()]
    return write_table(path, "groups", rows)
