"""The account of a source: every row is kept as a group, or dropped for a reason that is counted."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from grao_pipeline.fingerprints import DIGITS
from grao_pipeline.importing.rows import ImportedGroup, read_group
from grao_pipeline.prompts.base import DroppedRow, Row
from grao_pipeline.prompts.canonical import canonical_json, plain
from grao_pipeline.schemas import GROUPS, SCORES

DUPLICATE = "same prompt and responses as an earlier row"
ROWS_PER_CHUNK = 1000
TEXT_COLUMNS = ("group_id", "prompt_id", "messages", "reference", "rejected", "metadata", "completions")
REWARD_COLUMNS = ("rewards", "reference_reward")
KEPT = pa.schema(
    [GROUPS.arrow().field(name) for name in TEXT_COLUMNS] + [SCORES.arrow().field(name) for name in REWARD_COLUMNS]
)


@dataclass
class Account:
    """Takes the rows of a source one by one.

    Attributes:
        mapping: source column → field, applied before a row is read.
        rejects: the dropped rows as JSON, where `keep_rejects`.
        num_rewards: of the samples that were kept, those that have one.
        has_rewards: whether any sequence that was kept has one.
    """

    mapping: dict[str, str]
    keep_rejects: bool
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    rejects: list[str] = field(default_factory=list)
    num_samples: int = 0
    num_rewards: int = 0
    has_rewards: bool = False

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._chunks: list[pa.Table] = [KEPT.empty_table()]

    def take(self, row: Row) -> None:
        """Keep or drop the next row."""
        self._hash.update(canonical_json(row).encode("utf-8", "surrogatepass") + b"\n")
        try:
            self._keep(read_group({self.mapping.get(name, name): value for name, value in row.items()}))
        except DroppedRow as reason:
            self.dropped[str(reason)] += 1
            if self.keep_rejects:
                entry = {"row": self.read, "reason": str(reason), "data": plain(row)}
                self.rejects.append(json.dumps(entry, ensure_ascii=False))
        self.read += 1

    def source_fingerprint(self) -> str:
        """The hash of the rows read, independent of the kind of file that they came in."""
        return self._hash.hexdigest()[:DIGITS]

    def dropped_by_reason(self) -> dict[str, int]:
        """Counts by reason, the most frequent first."""
        return dict(sorted(self.dropped.items(), key=lambda item: (-item[1], item[0])))

    def kept(self) -> pa.Table:
        """The groups, in the source's order, with the columns of `KEPT`."""
        self._flush()
        return pa.concat_tables(self._chunks)

    def _keep(self, group: ImportedGroup) -> None:
        group_id = group.group_id
        if group_id in self._seen:
            raise DroppedRow(DUPLICATE)
        self._seen.add(group_id)
        rewards = group.rewards or [None] * len(group.completions)
        self.num_samples += len(rewards)
        self.num_rewards += sum(reward is not None for reward in rewards)
        self.has_rewards |= self.num_rewards > 0 or group.reference_reward is not None
        self._rows.append(
            {
                "group_id": group_id,
                "prompt_id": group.prompt_id,
                "messages": group.messages,
                "reference": group.reference,
                "rejected": group.rejected,
                "metadata": group.metadata,
                "completions": group.completions,
                "rewards": rewards,
                "reference_reward": group.reference_reward,
            }
        )
        if len(self._rows) == ROWS_PER_CHUNK:  # Python's objects take far more memory than Arrow
            self._flush()

    def _flush(self) -> None:
        self._chunks.append(pa.Table.from_pylist(self._rows, schema=KEPT))
        self._rows = []
