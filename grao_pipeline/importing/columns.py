"""Which columns of a source hold what: the names that other software gives them, and how rows make groups."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from grao_pipeline.errors import UsageError
from grao_pipeline.prompts.base import Row
from grao_pipeline.prompts.canonical import is_missing

Kind = Literal["groups", "samples", "batch", "pairs"]
"""A row is a group with lists of responses, one sample, an answer of OpenAI's batch API, or a preference pair."""


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(item is None or isinstance(item, int | float) for item in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_response(value: object) -> bool:
    return isinstance(value, str | Mapping) or (isinstance(value, list) and all(isinstance(i, Mapping) for i in value))


def _is_ranges(value: object) -> bool:
    return isinstance(value, list) and all(_is_ids(item) for item in value)


@dataclass(frozen=True)
class Field:
    """A field that an import reads.

    Attributes:
        names: names of columns that hold it, that of the documentation first.
        fits: whether a value of one sample (of a row, where the field is not one of a sample) can be it.
    """

    names: tuple[str, ...]
    fits: Callable[[object], bool]


PER_SAMPLE = {
    "responses": Field(("response", "completion", "generation", "output", "trajectory"), _is_response),
    "rewards": Field(("reward", "score", "rating", "trajectory_reward", "reward_score"), _is_number),
    "finish_reasons": Field(("finish_reason", "stop_reason"), _is_text),
    "truncated": Field(("is_truncated", "truncated"), _is_flag),
    "completion_token_ids": Field(
        (
            "completion_token_ids",
            *("completion_ids", "completion_tokens", "response_token_ids", "response_ids", "response_tokens"),
            *("output_token_ids", "output_ids"),
        ),
        _is_ids,
    ),
    "sequence_token_ids": Field(("token_ids", "input_ids", "tokens", "observation_tokens"), _is_ids),
    "completion_masks": Field(
        (
            "completion_mask",
            *("loss_mask", "response_mask", "action_mask", "assistant_mask", "tool_mask", "mask"),
            *("completion_masks", "loss_masks", "response_masks", "action_masks", "assistant_masks"),
        ),
        _is_numbers,
    ),
    "action_ranges": Field(("action_ranges",), _is_ranges),
    "attention_masks": Field(("attention_mask",), _is_numbers),
    "completion_logprobs": Field(
        (
            "completion_logprobs",
            *("response_logprobs", "response_log_probs", "rollout_log_probs", "rollout_logprobs", "sampling_logprobs"),
            *("logprobs", "log_probs"),
        ),
        _is_numbers,
    ),
    "completion_behavior_logprobs": Field(("completion_behavior_logprobs",), _is_numbers),
}
"""Fields of a sample. A row that is a group has lists of them, under the same names or their plurals."""
PLURALS = {"output": "outputs", "completion": "completions", "trajectory": "trajectories"}
PER_ROW = {
    "prompt": Field(("prompt", "instruction", "question", "query", "problem"), _is_response),
    "messages": Field(("messages", "conversations", "conversation", "chat_completions"), _is_response),
    "prompt_token_ids": Field(("prompt_token_ids", "prompt_ids", "prompt_tokens"), _is_ids),
}
OTHERS = ("tools", "reference", "reference_reward", "rejected")
PER_TOKEN = (
    *("completion_masks", "action_ranges", "attention_masks"),
    *("completion_logprobs", "completion_behavior_logprobs", "prompt_token_ids"),
)
"""Fields that say something only where there are token IDs."""
INPUT = "input"
"""Column with the prompt of verl's and OpenRLHF's dumps, next to `output`."""
LABEL = "label"
"""Column of TRL's data for KTO: true for a desirable completion."""
OF_TRL = {"step", "prompt", "completion", "advantage"}
"""Columns of every log of completions of TRL."""
METADATA = "metadata columns"
"""Where a row by field has its other columns, which become metadata."""


@dataclass(frozen=True)
class Layout:
    """How the rows of a source are read.

    Example: `Layout("samples", {"completion": "responses", "reward": "rewards"})`
    """

    kind: Kind
    fields: Mapping[str, str] = field(default_factory=dict)
    """Column → field, for the columns that are read under another name or that hold one sample."""
    perhaps_rewards: tuple[str, ...] = ()
    """Columns of numbers one of which may be the reward, where none is read as it."""

    def read(self, row: Row) -> dict[str, object]:
        """The row by field, one sample as lists of one, with the columns that are not a field as `METADATA`."""
        values: dict[str, object] = {}
        others: dict[str, object] = {}
        for column, value in row.items():
            name = self.fields.get(column)
            if name is not None and self.kind == "samples" and name in PER_SAMPLE:
                values[name] = [_number_of(column, value) if name == "rewards" else value]
            elif name is not None:
                values[name] = value
            elif column in OTHERS:
                values[column] = value
            else:
                others[column] = value
        return {**values, METADATA: others}

    @property
    def read_as(self) -> dict[str, str]:
        """Column → field, where the names differ by more than a plural."""
        return {column: name for column, name in self.fields.items() if name not in (column, plural(column))}


def choose_layout(columns: Sequence[str], head: Iterable[Row]) -> Layout:
    """How to read a source with these columns.

    Args:
        head: the first rows, by column.

    Raises:
        UsageError: a column is missing, or several could be the same field.
    """
    first = _first_values(columns, head)
    if "custom_id" in columns and isinstance(first.get("response"), Mapping | None) and "response" in columns:
        return Layout("batch")
    groups = {name: names for name in PER_SAMPLE if (names := _of_groups(name, first))}
    samples = {name: names for name in PER_SAMPLE if (names := _named(PER_SAMPLE[name], first))}
    rows = {name: names for name in PER_ROW if (names := _named(PER_ROW[name], first))}
    answers = ("responses", "completion_token_ids")
    if {"chosen", "rejected"} <= set(columns) and not any(name in groups or name in samples for name in answers):
        return Layout("pairs")
    is_of_groups = any(name in groups for name in answers)
    has_samples = any(name in samples for name in (*answers, "sequence_token_ids")) or "messages" in rows
    if not is_of_groups and not has_samples:
        raise UsageError(_missing("responses", columns))
    kind: Kind = "groups" if is_of_groups else "samples"
    candidates = _without_conflicts(rows | (groups if is_of_groups else samples))
    if "prompt" not in candidates and {"input", "output"} <= set(columns) and kind == "samples":
        candidates["prompt"] = [INPUT]
    rewards = _rewards_of_samples(columns, first) if kind == "samples" and "rewards" not in candidates else ()
    if len(rewards) == 1:
        candidates["rewards"], rewards = list(rewards), ()
    if not {"prompt", "messages", "prompt_token_ids", "sequence_token_ids"} & candidates.keys():
        raise UsageError(_missing("prompt", columns))
    return Layout(kind, {_only(names, name): name for name, names in candidates.items()}, tuple(rewards))


def _rewards_of_samples(columns: Sequence[str], first: Mapping[str, object]) -> Sequence[str]:
    """The columns that may be the reward by what they hold: a label of KTO, or the rewards of a log of TRL, which has a
    column for each reward function."""
    if isinstance(first.get(LABEL), bool):
        return (LABEL,)
    if not set(columns) >= OF_TRL:
        return ()
    numbers = [name for name in columns if name not in OF_TRL and _is_number(first[name])]
    return [name for name in numbers if not isinstance(first[name], bool)]


def _number_of(column: str, value: object) -> object:
    """A reward in a row of one sample: a label as 1 or 0; what pandas writes for a missing number is null."""
    if column == LABEL and isinstance(value, bool):
        return float(value)
    return None if is_missing(value) else value


def _without_conflicts(candidates: dict[str, list[str]]) -> dict[str, list[str]]:
    """Without the fields that others make superfluous, or that say nothing without others."""
    has_mask = "completion_masks" in candidates or "action_ranges" in candidates
    left_out: set[str] = {"messages"} if "prompt" in candidates else set()
    if "completion_token_ids" in candidates or not has_mask:
        left_out.add("sequence_token_ids")
    if "completion_token_ids" not in candidates and ("sequence_token_ids" not in candidates or not has_mask):
        left_out |= set(PER_TOKEN)
    return {name: names for name, names in candidates.items() if name not in left_out}


def plural(name: str) -> str:
    """The name of a column of lists: `reward` → `rewards`."""
    return PLURALS.get(name, name if name.endswith("s") else f"{name}s")


def _first_values(columns: Sequence[str], head: Iterable[Row]) -> dict[str, object]:
    """The first value of every column that says something."""
    first: dict[str, object] = dict.fromkeys(columns)
    for row in head:
        for name, value in row.items():
            if first.get(name) is None and not is_missing(value) and value != []:
                first[name] = value
    return first


def _named(wanted: Field, first: Mapping[str, object]) -> list[str]:
    """Columns whose name and value fit; those without any value where the name is the documented one."""
    return [
        name
        for name in wanted.names
        if name in first and (wanted.fits(first[name]) or (first[name] is None and name == wanted.names[0]))
    ]


def _of_groups(name: str, first: Mapping[str, object]) -> list[str]:
    """Columns with lists of the field. The field's own name is one whatever it holds: its rows say what is wrong."""
    wanted = PER_SAMPLE[name]
    candidates = [name, *map(plural, wanted.names), *(() if name == "responses" else wanted.names)]
    fitting = [one for one in dict.fromkeys(candidates) if one in first and _is_list_of(wanted, first[one])]
    if name in ("responses", "rewards", "finish_reasons") and name in first and name not in fitting:
        fitting.insert(0, name)
    return fitting


def _is_list_of(wanted: Field, value: object) -> bool:
    if not isinstance(value, list):
        return False
    items = [item for item in value if item is not None]
    return bool(items) and all(wanted.fits(item) for item in items)


def _only(names: Sequence[str], wanted: str) -> str:
    """The column of a field: the documented name, or the only one."""
    first_name = (PER_SAMPLE | PER_ROW)[wanted].names[0]
    documented = [name for name in names if name in (wanted, plural(first_name), first_name)]
    if documented or len(names) == 1:
        return (documented or list(names))[0]
    raise UsageError(
        f"Columns {' and '.join(repr(name) for name in names)} could both be the {wanted.replace('_', ' ')}. Choose "
        f"one: --map {names[0]}={wanted}.",
        option="map",
    )


def _missing(name: str, columns: Sequence[str]) -> str:
    return (
        f"The source has no column '{name}'. It has: {', '.join(columns)}. An import needs prompt (a text or "
        "messages) with responses (a list) or with response (one sample a row), or token IDs: prompt_token_ids with "
        "completion_token_ids. Rename columns with --map column=field."
    )
