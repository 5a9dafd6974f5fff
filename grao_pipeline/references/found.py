"""References by prompt: the best samples of groups, or those of another table."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.fingerprints import fingerprint, message_key
from grao_pipeline.json_text import parse_object
from grao_pipeline.storage.reader import TableReader
from grao_pipeline.storage.table_pair import TablePair

SAMPLE_COLUMNS = ["prompt_id", "messages", "tools", "metadata", "completions", "reasoning", "answers", "finish_reasons"]


@dataclass(frozen=True)
class Reference:
    """An answer that becomes a reference.

    Example: `Reference("It is 4.", "2 and 2 are 4.", reward=1.0)`
    """

    text: str
    reasoning: str | None = None
    reward: float | None = None


@dataclass
class References:
    """References by the identity of their prompt.

    Attributes:
        passed_over: prompts whose samples all are unusable, by the reason.
        ambiguous: prompts that stand in the source with several references; the first counts.
    """

    by_key: dict[str, Reference] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    ambiguous: int = 0

    def of(self, row: Row) -> Reference | None:
        """The reference for a prompt; None where the source has none for it."""
        return next((self.by_key[key] for key in _keys(row) if key in self.by_key), None)

    def reason(self, row: Row) -> str:
        """Why a prompt gets none."""
        return next((self.passed_over[key] for key in _keys(row) if key in self.passed_over), "not in the source")


def best_samples(groups: TableReader, pair: TablePair | None, min_reward: float | None) -> References:
    """The best complete sample of every group, the first of equal ones.

    Args:
        pair: the groups with their rewards; None where each has one sample, which is taken as it is.
    """
    references = References()
    parts: Iterable[tuple[pa.Table, pa.Table | None]]
    if pair is None:
        parts = ((groups.part(index, SAMPLE_COLUMNS), None) for index in range(groups.num_parts))
    else:
        parts = pair.parts(SAMPLE_COLUMNS, ["rewards"])
    for table, rewards in parts:
        rows = table.to_pylist()
        values = [None] * len(rows) if rewards is None else rewards.column("rewards").to_pylist()
        for row, row_rewards in zip(rows, values, strict=True):
            best, reason = _best(row, row_rewards, min_reward)
            for key in (row["prompt_id"], _content_key(row)):
                _keep(references, key, best, reason)
    return references


def table_references(prompts: TableReader) -> References:
    """The references of a prompts table, by the messages and tools of the prompts."""
    references = References()
    for index in range(prompts.num_parts):
        for row in prompts.part(index, ["messages", "tools", "reference", "reference_reasoning"]).to_pylist():
            if row["reference"] is None:
                continue
            reference = Reference(row["reference"], row["reference_reasoning"])
            key = _conversation_key(row)
            references.ambiguous += references.by_key.get(key, reference) != reference
            references.by_key.setdefault(key, reference)
    return references


def _keep(references: References, key: str, best: Reference | None, reason: str) -> None:
    """Of several groups of one prompt, the best sample counts."""
    earlier = references.by_key.get(key)
    if best is None:
        references.passed_over.setdefault(key, reason)
    elif earlier is None or (best.reward or 0.0) > (earlier.reward or 0.0):
        references.by_key[key] = best


def _best(row: Row, rewards: list[float | None] | None, min_reward: float | None) -> tuple[Reference | None, str]:
    """The best sample of a group, or why it has none."""
    usable = [number for number in range(len(row["completions"])) if _answer(row, number) is not None]
    if not usable:
        return None, "no complete sample"
    if rewards is None:
        return _reference(row, usable[0], None), ""
    scored = [number for number in usable if rewards[number] is not None]
    if not scored:
        return None, "no sample with a reward"
    best = max(scored, key=lambda number: (rewards[number], -number))
    if min_reward is not None and (rewards[best] or 0.0) < min_reward:
        return None, "no reward of at least --min-reward"
    return _reference(row, best, rewards[best]), ""


def _reference(row: Row, number: int, reward: float | None) -> Reference:
    reasoning = None if row["reasoning"] is None else row["reasoning"][number]
    return Reference(str(_answer(row, number)), reasoning, reward)


def _answer(row: Row, number: int) -> str | None:
    """The answer of a sample; None where it was cut off, never answers, or is blank."""
    if row["finish_reasons"][number] != "stop":
        return None
    text = row["completions"][number] if row["answers"] is None else row["answers"][number]
    return text if text and text.strip() else None


def _keys(row: Row) -> tuple[str, ...]:
    return (row["prompt_id"], _content_key(row), _conversation_key(row))


def _content_key(row: Row) -> str:
    """Identity of a prompt without its reference: groups of it may have been sampled when it had another one."""
    return fingerprint([_conversation_key(row), parse_object(row["metadata"])])


def _conversation_key(row: Row) -> str:
    """Identity of a conversation."""
    return fingerprint(["conversation", [message_key(message) for message in row["messages"]], row["tools"]])
