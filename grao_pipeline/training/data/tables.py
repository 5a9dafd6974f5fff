"""The tables of a training: groups with their advantages, and the replayed tables."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.table_pair import TablePair
from grao_pipeline.training.data.origins import Part

BEHAVIOR = "completion_behavior_logprobs"


def training_parts(
    pair: TablePair, groups: Sequence[str], advantages: Sequence[str], logprobs: Mapping[str, TableReader] | None = None
) -> Iterator[Part]:
    """These columns of a groups table and of its advantages, part by part, with the log-probs under other models.

    Raises:
        MismatchError: the tables do not hold the same groups.
        InputError: there are groups, but no token in any of them.
    """
    pair.companion.refuse_other_groups(pair.groups)
    has_tokens = not pair.groups.num_rows
    is_unknown = _samples_from_unknown(pair.groups.provenance)
    for index, (part, aligned) in enumerate(pair.parts(groups, advantages)):
        ids = part.column("group_id")
        others = {name: reader.aligned_part(ids, index) for name, reader in (logprobs or {}).items()}
        if is_unknown:
            part = _with_unknown_behavior(part)
        ids = part.column("completion_token_ids")
        has_tokens |= bool(pc.any(pc.greater(pc.list_value_length(pc.list_flatten(ids)), 0)).as_py())
        yield Part(pair.groups.fingerprint, part, aligned, others)
    if not has_tokens:
        raise InputError(
            f"{pair.groups.url} has texts but no token ids, so it cannot be trained on. "
            "Import it again with --tokenizer MODEL."
        )


def logprobs_of(groups: TableReader, tables: Sequence[tuple[str, TableReader]]) -> dict[str, TableReader]:
    """By name, the log-probs of these groups.

    Raises:
        MismatchError: a name has no table of these groups, or two.
    """
    chosen: dict[str, TableReader] = {}
    for name, reader in tables:
        if reader.provenance.inputs.get("groups") != groups.fingerprint:
            continue
        if name in chosen:
            raise MismatchError(f"{reader.url} is a second table of '{name}' for {groups.url}. Leave one of them out.")
        chosen[name] = reader
    missing = sorted({name for name, _ in tables} - set(chosen))
    if missing:
        raise MismatchError(
            f"No --logprobs {missing[0]}=TABLE was computed from {groups.url}. Run: grao logprobs {groups.url} OUT "
            "--model MODEL."
        )
    return chosen


def _samples_from_unknown(provenance: Provenance) -> bool:
    """Whether the distribution of the samples is neither the policy's nor stored: in tables of version 1, which had no
    column for it, where they were sampled at another temperature or from a part of the tokens.
    """
    sampling = {name: provenance.options.get(name) for name in ("temperature", "top_p")}
    return provenance.contract == 1 and any(value not in (None, 1.0) for value in sampling.values())


def _with_unknown_behavior(part: pa.Table) -> pa.Table:
    """The part with null for the behavior log-probs of every sample."""
    place = part.schema.get_field_index(BEHAVIOR)
    unknown = [[None] * len(ids) for ids in part.column("completion_token_ids").to_pylist()]
    return part.set_column(place, BEHAVIOR, pa.array(unknown, part.schema.field(place).type))


def open_pairs(groups_url: str, advantages_url: str, replay: Sequence[tuple[str, str]] = ()) -> list[TablePair]:
    """The main pair, then the replayed ones in the order given.

    Raises:
        InputError: one of the tables is not usable.
        UsageError: a groups table is given twice.
    """
    pairs: list[TablePair] = []
    for groups, advantages in [(groups_url, advantages_url), *replay]:
        pair = TablePair(open_table(groups, "groups"), open_table(advantages, "advantages"))
        for other in pairs:
            if other.groups.fingerprint == pair.groups.fingerprint:
                raise UsageError(
                    f"{groups} holds the groups of {other.groups.url}, which are trained on already. "
                    "Give every table once.",
                    option="replay",
                )
        pairs.append(pair)
    return pairs


def refuse_shared_groups(pairs: Sequence[TablePair], parts: Sequence[Part]) -> None:
    """Check that no group is in two tables.

    Raises:
        MismatchError: names the first group that is, and the tables.
    """
    ids = [_group_ids(pair, parts) for pair in pairs]
    for number, pair in enumerate(pairs):
        for other, other_ids in zip(pairs[:number], ids, strict=False):
            shared = ids[number].filter(pc.is_in(ids[number], value_set=other_ids))
            if len(shared):
                raise MismatchError(
                    f"{len(shared)} groups are in {other.groups.url} and in {pair.groups.url}, e.g. {shared[0]}. "
                    "A group must come from a single table: leave one of the tables out."
                )


def _group_ids(pair: TablePair, parts: Sequence[Part]) -> pa.Array:
    chunks = [part.groups["group_id"] for part in parts if part.groups_table == pair.groups.fingerprint]
    return pa.concat_arrays([chunk.combine_chunks() for chunk in chunks]) if chunks else pa.array([], pa.string())
