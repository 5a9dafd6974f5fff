"""The tables of a training: groups with their advantages, and the replayed tables; read part by part."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.rows_to_arrow import array_of
from grao_pipeline.storage.table_pair import TablePair

BEHAVIOR = "completion_behavior_logprobs"
GROUP_COLUMNS = [
    "group_id",
    "prompt_token_ids",
    "reference_token_ids",
    "completion_token_ids",
    "completion_logprobs",
    "completion_masks",
    BEHAVIOR,
    "policy",
    "round",
]
ADVANTAGE_COLUMNS = ["group_id", "rewards", "advantages", "reference_advantage", "reference_reward", "token_weights"]
ROOM = 1 << 30
"""Bytes of the parts that stay in memory: some ten million tokens of samples with their log-probs, in each process."""


@dataclass(frozen=True)
class Part:
    """A part of a groups table, the advantages of the same rows, and their log-probs under other models by name."""

    groups: pa.Table
    advantages: pa.Table
    logprobs: Mapping[str, pa.Table]

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        return sum(int(table.nbytes) for table in (self.groups, self.advantages, *self.logprobs.values()))


class KeptParts:
    """The parts of the tables of a training, read when a row of them is asked for; the last ones stay in memory.

    Args:
        logprobs: for each pair, the log-probs of its groups under other models, by name.
        room: bytes of the parts that stay.
    """

    def __init__(
        self, pairs: Sequence[TablePair], logprobs: Sequence[Mapping[str, TableReader]], room: int = ROOM
    ) -> None:
        self._pairs = pairs
        self._logprobs = logprobs
        self._room = room
        self._kept: OrderedDict[tuple[int, int], Part] = OrderedDict()
        self._size = 0

    def part(self, number: int, index: int) -> Part:
        """Part `index` of a pair of tables.

        Raises:
            DamagedPart: the bytes of a part are not the ones that were committed.
            MismatchError: the tables do not hold the same groups.
        """
        key = number, index
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        part = self._kept[key] = self._read(self._pairs[number], index, self._logprobs[number])
        self._size += part.num_bytes
        while self._size > self._room and len(self._kept) > 1:
            self._size -= self._kept.popitem(last=False)[1].num_bytes
        return part

    def _read(self, pair: TablePair, index: int, logprobs: Mapping[str, TableReader]) -> Part:
        groups = pair.groups.part(index, GROUP_COLUMNS)
        ids = groups.column("group_id")
        if samples_from_unknown(pair.groups.provenance):
            groups = _with_unknown_behavior(groups)
        others = {name: reader.aligned_part(ids, index) for name, reader in logprobs.items()}
        return Part(groups, pair.companion.aligned_part(ids, index, ADVANTAGE_COLUMNS), others)


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


def samples_from_unknown(provenance: Provenance) -> bool:
    """Whether the distribution of the samples is neither the policy's nor stored: in tables of version 1, which had no
    column for it, where they were sampled at another temperature or from a part of the tokens.
    """
    sampling = {name: provenance.options.get(name) for name in ("temperature", "top_p")}
    return provenance.contract == 1 and any(value not in (None, 1.0) for value in sampling.values())


def _with_unknown_behavior(part: pa.Table) -> pa.Table:
    """The part with null for the behavior log-probs of every sample."""
    place = part.schema.get_field_index(BEHAVIOR)
    unknown = [[None] * len(ids) for ids in part.column("completion_token_ids").to_pylist()]
    return part.set_column(place, BEHAVIOR, array_of(unknown, part.schema.field(place).type))


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


def refuse_shared_groups(pairs: Sequence[TablePair]) -> None:
    """Check that no group is in two tables.

    Raises:
        MismatchError: names the first group that is, and the tables.
    """
    if len(pairs) == 1:
        return
    ids = [pair.groups.frame(range(pair.groups.num_parts), ["group_id"])["group_id"] for pair in pairs]
    for number, pair in enumerate(pairs):
        for other, other_ids in zip(pairs[:number], ids, strict=False):
            shared = ids[number].filter(ids[number].is_in(other_ids.implode()))
            if len(shared):
                raise MismatchError(
                    f"{len(shared)} groups are in {other.groups.url} and in {pair.groups.url}, e.g. {shared[0]}. "
                    "A group must come from a single table: leave one of the tables out."
                )
