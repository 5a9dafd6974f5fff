"""What the rows of a source become as groups: without duplicates, with their rewards where they have some."""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from grao_pipeline.errors import UsageError
from grao_pipeline.importing.rows import ImportedGroup, missing_fields, read_group
from grao_pipeline.prompts.base import DroppedRow, Row
from grao_pipeline.prompts.intake import ArrowRows
from grao_pipeline.schemas import GROUPS, SCORES

DUPLICATE = "same prompt and responses as an earlier row"
TEXT_COLUMNS = ("group_id", "prompt_id", "messages", "reference", "rejected", "metadata", "completions")
REWARD_COLUMNS = ("rewards", "reference_reward")
SCHEMA = pa.schema(
    [GROUPS.arrow().field(name) for name in TEXT_COLUMNS] + [SCORES.arrow().field(name) for name in REWARD_COLUMNS]
)


class GroupLedger:
    """The `Ledger` of `grao import`.

    Attributes:
        num_rewards: of the samples, those that have one.
        has_rewards: whether any sample or reference has one.
    """

    product = "group"

    def __init__(self) -> None:
        self.num_samples = 0
        self.num_rewards = 0
        self.has_rewards = False
        self._group_ids: set[str] = set()
        self._rows = ArrowRows(SCHEMA)

    def table(self) -> pa.Table:
        """The groups, in the source's order, with the columns of `SCHEMA`."""
        return self._rows.table()

    def begin(self, columns: Mapping[str, str], head: Iterator[Row]) -> None:
        missing = missing_fields(list(columns.values()))
        if missing:
            raise UsageError(
                f"The source has no column '{missing[0]}'. It has: {', '.join(columns)}. An import needs prompt (a "
                "text or messages) and responses (a list of texts). Rename columns with --map column=field."
            )

    def keep(self, row: Row) -> None:
        group = read_group(row)
        group_id = group.group_id
        if group_id in self._group_ids:
            raise DroppedRow(DUPLICATE)
        self._group_ids.add(group_id)
        rewards = group.rewards or [None] * len(group.completions)
        self.num_samples += len(rewards)
        self.num_rewards += sum(reward is not None for reward in rewards)
        self.has_rewards |= self.num_rewards > 0 or group.reference_reward is not None
        self._rows.add(_columns(group, group_id, rewards))

    def finish(self) -> Iterator[tuple[int, Row, str]]:
        return iter(())


def _columns(group: ImportedGroup, group_id: str, rewards: list[float | None]) -> Row:
    return {
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
