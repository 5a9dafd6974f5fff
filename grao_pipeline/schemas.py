"""The data contract: the Arrow schema of every table, and the values that are valid in it.

Stages pass only Parquet to each other. `groups` is the only table with tokens. `scores` and `advantages` are narrow
companion tables of it: they have the same parts, rows and order, and the key `group_id`.

The lists in a row of groups are parallel: index i is sample i. Token IDs are int32, log-probabilities float32 in nats.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

TOOL_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
"""A call as OpenAI's API writes it: `type` is `function`, `arguments` the text of a JSON object."""
MESSAGES = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("reasoning_content", pa.string()),
            ("name", pa.string()),
            ("tool_call_id", pa.string()),
            ("tool_calls", pa.list_(TOOL_CALL)),
        ]
    )
)
"""Only `role` and `content` are required; the content of a turn that only calls tools is the empty text."""
STEP = pa.struct([("end", pa.int32()), ("reward", pa.float32()), ("state", pa.string())])
"""A step of a completion: the character where it ends, its reward and a key of the state in which it was taken."""
FinishReason = Literal["stop", "length", "abort"]
"""How a completion ended: with an end-of-turn token, at its token limit, or without being sampled."""
Status = Literal["ok", "error", "unparsable", "truncated", "not_applicable"]
"""The outcome of judging a sequence; only `ok` has a reward. `not_applicable`: the reward is not meant for the row."""
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)
STATUSES: tuple[Status, ...] = get_args(Status)
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
"""Rewards and advantages are stored as float32."""


@dataclass(frozen=True)
class Column:
    """One column of a table, e.g. `Column("reference", pa.string(), "the reference answer y", nullable=True)`."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = False


@dataclass(frozen=True)
class TableSchema:
    """A table of the contract: its columns in order, and the list columns that must be equally long in every row."""

    name: str
    columns: tuple[Column, ...]
    parallel: tuple[str, ...] = ()

    def arrow(self) -> pa.Schema:
        """The Arrow schema. `storage.validation` checks the nulls, since Parquet writers rarely declare nullability."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])

    def column(self, name: str) -> Column:
        """The column with this name."""
        return next(column for column in self.columns if column.name == name)


PROMPT_COLUMNS = (
    Column("prompt_id", pa.string(), "content hash of the row's other columns, 32 hex digits"),
    Column("messages", MESSAGES, "the conversation, without the answer"),
    Column("tools", pa.string(), "JSON schemas of the tools that the policy may call: a JSON list", nullable=True),
    Column("reference", pa.string(), "the reference answer y", nullable=True),
    Column("reference_reasoning", pa.string(), "the reasoning before the reference answer", nullable=True),
    Column("rejected", pa.string(), "the dispreferred answer, where the source has one", nullable=True),
    Column("metadata", pa.string(), "a JSON object with what the rewards need"),
)

PROMPTS = TableSchema(
    "prompts",
    (
        *PROMPT_COLUMNS,
        Column("samples", pa.int32(), "how often to sample the prompt; null: as often as all others", nullable=True),
    ),
)

GROUPS = TableSchema(
    "groups",
    (
        Column("group_id", pa.string(), "content hash of prompt_id, policy and the samples' token IDs"),
        *PROMPT_COLUMNS,
        Column("prompt_token_ids", pa.list_(pa.int32()), "the prompt exactly as the policy read it"),
        Column(
            "reference_token_ids",
            pa.list_(pa.int32()),
            "the reference as the continuation of that prompt, end-of-turn token included",
            nullable=True,
        ),
        Column(
            "completions",
            pa.list_(pa.string()),
            "text of each sample, without special tokens but for marks of reasoning",
        ),
        Column(
            "reasoning",
            pa.list_(pa.string()),
            "the reasoning part of each completion; null where it has none",
            nullable=True,
        ),
        Column(
            "answers",
            pa.list_(pa.string()),
            "the part of each completion after its reasoning; null where the reasoning never ends",
            nullable=True,
        ),
        Column("completion_token_ids", pa.list_(pa.list_(pa.int32())), "the token IDs that the engine sampled"),
        Column(
            "completion_logprobs",
            pa.list_(pa.list_(pa.float32())),
            "log-probability of each sampled token under the policy at temperature 1, in nats",
            nullable=True,
        ),
        Column(
            "completion_behavior_logprobs",
            pa.list_(pa.list_(pa.float32())),
            "log-probability of each sampled token under the distribution that sampled it (temperature, top-p, …), in "
            "nats; null where that is the policy at temperature 1",
            nullable=True,
        ),
        Column(
            "completion_masks",
            pa.list_(pa.list_(pa.bool_())),
            "which tokens the policy sampled; the others (results of tools) are not trained on. null: all of them",
            nullable=True,
        ),
        Column(
            "completion_token_ends",
            pa.list_(pa.list_(pa.int32())),
            "the number of characters of the completion's text up to the end of each token",
            nullable=True,
        ),
        Column("finish_reasons", pa.list_(pa.string()), "`stop`, `length` or `abort`"),
        Column("policy", pa.string(), "fingerprint of the weights that sampled"),
        Column("round", pa.int32(), "0 for the first round"),
        Column(
            "retokenized", pa.bool_(), "whether the completions' token IDs were derived from their text", nullable=True
        ),
    ),
    parallel=(
        "completions",
        "reasoning",
        "answers",
        "completion_token_ids",
        "completion_logprobs",
        "completion_behavior_logprobs",
        "completion_masks",
        "completion_token_ends",
        "finish_reasons",
    ),
)

SCORES = TableSchema(
    "scores",
    (
        Column("group_id", pa.string(), "same rows, same order, same part as in groups"),
        Column("rewards", pa.list_(pa.float32()), "R(o_i); null where scoring failed"),
        Column("reference_reward", pa.float32(), "R(y); 0 for a pairwise reward", nullable=True),
        Column("statuses", pa.list_(pa.string()), "`ok`, `error`, `unparsable`, `truncated` or `not_applicable`"),
        Column("details", pa.list_(pa.string()), "explanation of each judgement, for people", nullable=True),
        Column("steps", pa.list_(pa.list_(STEP)), "the steps of each sample with their rewards", nullable=True),
    ),
    parallel=("rewards", "statuses", "details", "steps"),
)

ADVANTAGES = TableSchema(
    "advantages",
    (
        Column("group_id", pa.string(), "same rows, same order, same part as in groups"),
        Column("rewards", pa.list_(pa.float32()), "the combined reward that the estimator saw"),
        Column("advantages", pa.list_(pa.float32()), "A_i; null = this sample is not trained on"),
        Column("reference_advantage", pa.float32(), "A_y; null = the reference is not trained on", nullable=True),
        Column("reward_mean", pa.float32(), "the group's mean reward that the estimator used", nullable=True),
        Column("reward_std", pa.float32(), "the group's population standard deviation", nullable=True),
        Column("reference_reward", pa.float32(), "the reference's combined reward", nullable=True),
        Column("token_weights", pa.list_(pa.list_(pa.float32())), "a factor per completion token", nullable=True),
        Column(
            "masked_by",
            pa.list_(pa.string()),
            "the filter that leaves a sample out of the training; null where none does",
            nullable=True,
        ),
    ),
    parallel=("rewards", "advantages", "token_weights", "masked_by"),
)

LOGPROBS = TableSchema(
    "logprobs",
    (
        Column("group_id", pa.string(), "same rows, same order, same part as in groups"),
        Column("sample_logprobs", pa.list_(pa.list_(pa.float32())), "of each token of each sample, in nats"),
        Column("reference_logprobs", pa.list_(pa.float32()), "of each token of the reference, in nats", nullable=True),
        Column("policy", pa.string(), "fingerprint of the model"),
        Column(
            "sample_top_ids",
            pa.list_(pa.list_(pa.list_(pa.int32()))),
            "the K likeliest tokens at the place of each token of each sample, the likeliest first",
            nullable=True,
        ),
        Column("sample_top_logprobs", pa.list_(pa.list_(pa.list_(pa.float32()))), "their log-probs", nullable=True),
        Column("reference_top_ids", pa.list_(pa.list_(pa.int32())), "the same of the reference", nullable=True),
        Column("reference_top_logprobs", pa.list_(pa.list_(pa.float32())), "their log-probs", nullable=True),
    ),
)
"""Log-probs at temperature 1 under another model than the one that sampled."""

TABLES = {schema.name: schema for schema in (PROMPTS, GROUPS, SCORES, ADVANTAGES, LOGPROBS)}

NULLABLE_ELEMENTS = {
    "rewards",
    "advantages",
    "details",
    "steps",
    "reasoning",
    "answers",
    "completion_logprobs",
    "completion_behavior_logprobs",
    "completion_masks",
    "completion_token_ends",
    "token_weights",
    "masked_by",
}
"""Lists whose elements may be null; in any other list a null is an error."""
NULLABLE_FIELDS = {"reasoning_content", "name", "tool_call_id", "tool_calls", "id", "type", "reward", "state"}
"""Fields of structs, at any depth, that may be null; in any other field a null is an error."""
PER_TOKEN = ("completion_logprobs", "completion_behavior_logprobs", "completion_masks", "completion_token_ends")
"""Columns of groups with a value per token of each completion."""
