"""Groups as the sample browser shows them: plain values, texts as they are. Whoever shows them escapes them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import MismatchError
from grao_pipeline.report.group_sets import COMBINED, GroupSet
from grao_pipeline.report.outputs import Output
from grao_pipeline.storage.row_access import RowAccess, open_rows
from grao_pipeline.storage.table_pair import refuse_other_sample_counts

Json = dict[str, Any]
TEXTS = ["messages", "tools", "reference", "reference_reasoning", "rejected", "metadata"]
TEXTS += ["completions", "reasoning", "answers"]
"""Columns of groups with texts."""
IDENTITY = ["group_id", "prompt_id", "round", "policy"]
LENGTHS = ["completion_token_ids", "completion_masks", "reference_token_ids"]
SCORES = ["group_id", "rewards", "reference_reward", "statuses", "details"]
ADVANTAGES = ["group_id", "rewards", "advantages", "reference_advantage", "reward_mean", "reward_std"]
ADVANTAGES += ["reference_reward", "masked_by"]
EXCERPT = 160
"""Characters of a prompt in a list."""


@dataclass(frozen=True)
class OpenSet:
    """The tables of a set of groups, open."""

    of: GroupSet
    groups: RowAccess
    scores: dict[str, RowAccess] = field(default_factory=dict)
    advantages: RowAccess | None = None

    @staticmethod
    def open(one: GroupSet, earlier: "OpenSet | None" = None) -> "OpenSet":
        """Args: earlier: the same set as it was before; what it knows of tables in writing is not read again.

        Raises:
            InputError: a table cannot be read.
        """
        known = {table.url: table for table in earlier.tables} if earlier else {}

        def table(output: Output, kind: str) -> RowAccess:
            return open_rows(output.place, kind, known.get(output.place))

        scores = {name: table(output, "scores") for name, output in one.scores.items()}
        advantages = table(one.advantages, "advantages") if one.advantages else None
        return OpenSet(one, table(one.groups, "groups"), scores, advantages)

    @property
    def tables(self) -> list[RowAccess]:
        """All of them."""
        return [self.groups, *self.scores.values(), *([self.advantages] if self.advantages else [])]

    @property
    def is_complete(self) -> bool:
        """Whether none of the tables is being written."""
        return all(table.is_complete for table in self.tables)

    @property
    def version(self) -> int:
        """Another one when a table has grown."""
        return sum(len(table.parts) for table in self.tables)

    def companion(self, table: RowAccess, part: int, start: int, stop: int, columns: Sequence[str]) -> pa.Table | None:
        """Rows of the scores or advantages that belong to rows of part `part` of the groups; None where they do not
        exist yet.

        Raises:
            MismatchError: they are those of other groups, or of another number of samples.
        """
        name = self.groups.parts[part].name
        number = table.part_named(name)
        is_foreign = table.provenance is None
        wanted = list(dict.fromkeys(["group_id", *columns, *(["rewards"] if is_foreign else [])]))
        if number is not None and table.parts[number].rows == self.groups.parts[part].rows:
            rows = table.part(number, wanted, start, stop)
        elif is_foreign:  # of other software: other parts, but the same order
            first = self.groups.starts_at(part)
            rows = table.rows(first + start, first + stop, wanted)
        else:
            return None
        groups = self.groups.part(part, ["group_id", *(["finish_reasons"] if is_foreign else [])], start, stop)
        if rows.column("group_id").combine_chunks() != groups.column("group_id").combine_chunks():
            raise MismatchError(f"{table.url} does not hold the groups of {self.groups.url} in their order.")
        if is_foreign:
            refuse_other_sample_counts(groups, rows, table.url)
        return rows


def set_record(tables: OpenSet) -> Json:
    """What the sample browser knows of a set of groups."""
    one = tables.of
    return {
        "key": one.key,
        "label": one.label,
        "variant": one.variant,
        "round": one.round,
        "purpose": one.purpose,
        "previous": one.previous,
        "rewards": one.rewards,
        "weighing": vars(one.weighing) if one.weighing else None,
        "total": tables.groups.num_rows,
        "is_complete": tables.groups.is_complete,
        "version": tables.version,
        "sources": [output.name for output in one.tables],
    }


def read_groups(tables: OpenSet, start: int, stop: int, longest: int | None = None) -> list[Json]:
    """The groups at these positions, whole.

    Args:
        longest: characters of a text; more are cut, and their number is given.
    """
    groups: list[Json] = []
    for part, begin, end in parts_between(tables.groups, start, stop):
        rows = tables.groups.part(part, [*IDENTITY, *TEXTS, *LENGTHS, "finish_reasons"], begin, end)
        tokens = _token_counts(rows)
        scores = {
            name: table.to_pylist()
            for name, access in tables.scores.items()
            if (table := tables.companion(access, part, begin, end, SCORES)) is not None
        }
        advantages: list[Json] | None = None
        if tables.advantages:
            table = tables.companion(tables.advantages, part, begin, end, ADVANTAGES)
            advantages = table.to_pylist() if table is not None else None
        first = tables.groups.starts_at(part) + begin
        texts = rows.select([*IDENTITY, *TEXTS, "finish_reasons", "reference_token_ids"]).to_pylist()
        for index, row in enumerate(texts):
            of_scores = {name: column[index] for name, column in scores.items()}
            computed = advantages[index] if advantages else None
            groups.append(_group(first + index, row, tokens[index], of_scores, computed, tables.of, longest))
    return groups


def parts_between(table: RowAccess, start: int, stop: int) -> list[tuple[int, int, int]]:
    """(part, first row, one after the last row) of the parts around these positions."""
    pieces = []
    for index, part in enumerate(table.parts):
        first = table.starts_at(index)
        begin, end = max(start - first, 0), min(stop - first, part.rows)
        if begin < end:
            pieces.append((index, begin, end))
    return pieces


def _group(
    position: int,
    row: Json,
    tokens: Sequence[int],
    scores: dict[str, Json],
    computed: Json | None,
    of: GroupSet,
    longest: int | None,
) -> Json:
    size = len(row["finish_reasons"])
    advantages = computed["advantages"] if computed else [None] * size
    trained = [value if count else None for value, count in zip(advantages, tokens, strict=True)]
    of_reference = computed["reference_advantage"] if computed and row["reference_token_ids"] else None
    weights, reference_weight = of.weighing.weights(trained, of_reference) if of.weighing else ([None] * size, None)
    rewards = {COMBINED: computed, **scores} if COMBINED in of.rewards and computed else scores

    def text(value: str | None) -> Json | None:
        if value is None:
            return None
        cut = len(value) - longest if longest is not None else 0
        return {"text": value[:longest], "cut": cut} if cut > 0 else {"text": value}

    def sample(i: int) -> Json:
        details = {name: score["details"][i] for name, score in scores.items() if score["details"]}
        return {
            "answer": text((row["answers"] or row["completions"])[i]),
            "reasoning": text(row["reasoning"][i] if row["reasoning"] else None),
            "rewards": {name: rounded(score["rewards"][i]) for name, score in rewards.items()},
            "statuses": {name: score["statuses"][i] for name, score in scores.items()},
            "details": {name: detail for name, detail in details.items() if detail},
            "advantage": rounded(advantages[i]),
            "weight": rounded(weights[i]),
            "tokens": tokens[i],
            "finish": row["finish_reasons"][i],
            "masked_by": computed["masked_by"][i] if computed and computed["masked_by"] else None,
        }

    def reference() -> Json:
        return {
            "answer": text(row["reference"]),
            "reasoning": text(row["reference_reasoning"]),
            "rewards": {name: rounded(score["reference_reward"]) for name, score in rewards.items()},
            "advantage": rounded(computed["reference_advantage"]) if computed else None,
            "weight": rounded(reference_weight),
            "tokens": len(row["reference_token_ids"] or []),
        }

    return {
        "at": position,
        **{name: row[name] for name in IDENTITY},
        "messages": [_message(message, text) for message in row["messages"]],
        "tools": text(row["tools"]),
        "metadata": row["metadata"] if row["metadata"] != "{}" else None,
        "rejected": text(row["rejected"]),
        "reference": None if row["reference"] is None else reference(),
        "samples": [sample(i) for i in range(size)],
        "mean": rounded(computed["reward_mean"]) if computed else None,
        "std": rounded(computed["reward_std"]) if computed else None,
    }


def _message(message: Json, text: Callable[[str | None], object]) -> Json:
    calls = [
        f"{call['function']['name']}({call['function']['arguments']})"
        for call in message["tool_calls"] or []
        if call["function"]
    ]
    return {
        "role": message["role"],
        "content": text("\n".join(part for part in (message["content"], *calls) if part)),
        "reasoning": text(message["reasoning_content"]),
    }


def excerpt(messages: Sequence[Json]) -> str:
    """The beginning of the last turn of a user."""
    users = [message["content"] for message in messages if message["role"] == "user"]
    return str((users or [messages[-1]["content"]])[-1])[:EXCERPT]


def _token_counts(rows: pa.Table) -> list[list[int]]:
    """Of every sample of every group, the tokens that the policy sampled."""
    ids = rows.column("completion_token_ids").combine_chunks()
    counts = pa.ListArray.from_arrays(_offsets(ids), pc.list_value_length(ids.flatten())).to_pylist()
    masks = rows.column("completion_masks")
    if masks.null_count < len(masks):
        for row, of_group in enumerate(masks.to_pylist()):
            for i, mask in enumerate(of_group or []):
                if mask is not None:
                    counts[row][i] = sum(mask)
    sizes: list[list[int]] = counts
    return sizes


def _offsets(lists: pa.Array) -> pa.Array:
    """Of the elements of an array of lists that `flatten` returns."""
    lengths = pc.list_value_length(lists).to_pylist()
    ends, total = [0], 0
    for length in lengths:
        total += length or 0
        ends.append(total)
    return pa.array(ends, pa.int32())


def rounded(value: float | None) -> float | None:
    """Six digits, as many as float32 has."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
