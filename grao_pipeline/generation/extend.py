"""The groups that `--extend` adds samples to."""

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.generation.engines.base import Sample
from grao_pipeline.storage.reader import TableReader

COLUMNS = [
    "prompt_id",
    "policy",
    "prompt_token_ids",
    "completion_token_ids",
    "completion_logprobs",
    "completion_behavior_logprobs",
    "finish_reasons",
    "retokenized",
]
CACHED_PARTS = 4


class ExtendedGroups:
    """The samples that a prompt has already. Parts are read when they are needed.

    Args:
        policy: fingerprint of the policy that samples now.

    Raises:
        InputError: a prompt appears in two groups.
    """

    def __init__(self, groups: TableReader, policy: str) -> None:
        self._groups = groups
        self._policy = policy
        self._places: dict[str, tuple[int, int]] = {}
        for part, table in enumerate(groups.parts(["prompt_id"])):
            for row, prompt_id in enumerate(table.column("prompt_id").to_pylist()):
                if prompt_id in self._places:
                    raise InputError(f"--extend {groups.url}: prompt ID {prompt_id} appears in two groups; keep one.")
                self._places[prompt_id] = (part, row)
        self._rows = lru_cache(CACHED_PARTS)(self._read)

    def samples(self, row: Row) -> list[Sample]:
        """The samples of a row's prompt, in their order; none where the prompt has no group.

        Raises:
            MismatchError: another policy sampled them, or from other token ids.
        """
        if row["prompt_id"] not in self._places:
            return []
        part, number = self._places[row["prompt_id"]]
        group = self._rows(part)[number]
        if group["policy"] != self._policy:
            raise MismatchError(
                f"--extend {self._groups.url} was sampled by policy {group['policy']}; --model is {self._policy}. "
                "All samples of a group have one policy: extend it with the model that sampled it."
            )
        if group["prompt_token_ids"] != row["prompt_token_ids"]:
            raise MismatchError(
                f"--extend {self._groups.url}: prompt {row['prompt_id']} was sampled from other token ids. Use the "
                "tokenizer, chat template, --template-arg and --template-date that it was sampled with."
            )
        logprobs = group["completion_logprobs"] or [None] * len(group["completion_token_ids"])
        behavior = group["completion_behavior_logprobs"] or logprobs
        columns = (group["completion_token_ids"], logprobs, group["finish_reasons"], behavior)
        retokenized = bool(group["retokenized"])
        return [
            Sample(ids, of_policy, reason, retokenized, behavior_logprobs=of_behavior)
            for ids, of_policy, reason, of_behavior in zip(*columns, strict=True)
        ]

    def _read(self, part: int) -> list[Row]:
        rows: list[Row] = self._groups.part(part, COLUMNS).to_pylist()
        return rows


def count_tokens(groups: TableReader, prompt_ids: pa.ChunkedArray) -> int:
    """Tokens of the samples that these prompts have in the table."""
    count = 0
    for part in groups.parts(["prompt_id", "completion_token_ids"]):
        samples = part.filter(pc.is_in(part["prompt_id"], value_set=prompt_ids))["completion_token_ids"]
        count += pc.sum(pc.list_value_length(pc.list_flatten(samples))).as_py() or 0
    return count
