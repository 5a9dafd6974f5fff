"""The samples of a row: texts, turns or token IDs, with masks, log-probs, finish reasons and rewards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grao_pipeline.importing.finish import finish_reason
from grao_pipeline.prompts.base import DroppedRow, Message, Row
from grao_pipeline.prompts.conversations import conversation, text
from grao_pipeline.schemas import LARGEST_FLOAT32, FinishReason

TEXT_KEYS = ("response", "text", "completion", "generated_text", "generation", "output", "answer")
REWARD_KEYS = ("reward", "score", "overall_score", "rating")
SMALLEST_INT32, LARGEST_INT32 = 0, 2**31 - 1


@dataclass(frozen=True)
class Tokens:
    """The token IDs of a sample, as the policy read and sampled them.

    Attributes:
        mask: which of them the policy sampled; None: all.
        logprobs, behavior_logprobs: 0 at tokens that the policy did not sample.
    """

    ids: list[int]
    mask: list[bool] | None = None
    logprobs: list[float] | None = None
    behavior_logprobs: list[float] | None = None


@dataclass(frozen=True)
class ImportedSample:
    """One response.

    Attributes:
        text: None where there are only turns or token IDs.
        turns: of a trajectory, or of an answer with reasoning: the assistant's, the tools' and the user's.
        finish_reason: None where the source does not say it.
    """

    text: str | None
    turns: list[Message] | None = None
    tokens: Tokens | None = None
    finish_reason: FinishReason | None = None
    reward: float | None = None

    @property
    def identity(self) -> object:
        """What distinguishes it from other samples, for the group ID."""
        if self.tokens is not None:
            return [self.tokens.ids, self.tokens.mask]
        return self.text if self.turns is None else self.turns


def read_samples(row: Row, lost: set[str]) -> list[ImportedSample]:
    """The samples of a row, from its lists.

    Args:
        lost: gets the names of what no sample can hold.

    Raises:
        DroppedRow: a value is missing or malformed.
    """
    responses = _list(row, "responses")
    ids = _list(row, "completion_token_ids")
    if responses is None and ids is None:
        raise DroppedRow("responses is missing")
    size = len(responses if responses is not None else ids or [])
    if not size:
        raise DroppedRow("responses is empty")

    def column(name: str) -> list[object]:
        values = _list(row, name)
        if values is None:
            return [None] * size
        if len(values) != size:
            raise DroppedRow(f"{name} and responses differ in length")
        return values

    names = ("completion_token_ids", "completion_masks", "completion_logprobs", "completion_behavior_logprobs")
    tokens = [_tokens(*values) for values in zip(*map(column, names), strict=True)]
    reasons = [
        "length" if is_cut is True else finish_reason(reason)
        for is_cut, reason in zip(column("truncated"), column("finish_reasons"), strict=True)
    ]
    samples = []
    for value, token, reason, reward in zip(column("responses"), tokens, reasons, column("rewards"), strict=True):
        answer = _Answer(None, None) if value is None and token is not None else _answer(value, lost)
        samples.append(
            ImportedSample(
                answer.text,
                answer.turns,
                token,
                reason or answer.finish_reason,
                _reward(reward if reward is not None else answer.reward, "rewards contains"),
            )
        )
    return samples


@dataclass(frozen=True)
class _Answer:
    text: str | None
    turns: list[Message] | None
    finish_reason: FinishReason | None = None
    reward: object = None


def _answer(value: object, lost: set[str]) -> _Answer:
    """A text, a turn or a list of turns; or an object that holds one of them, such as a choice of OpenAI's API."""
    if isinstance(value, Mapping) and not {"role", "from"} & value.keys():
        inner = value.get("message") or next((value[key] for key in TEXT_KEYS if value.get(key) is not None), None)
        if inner is None:
            raise DroppedRow("a response is not text" if value else "a response is missing")
        if value.get("logprobs") is not None:
            lost.add("logprobs of a response, which have no token IDs")
        answer = _answer(inner, lost)
        reward = next((value[key] for key in REWARD_KEYS if value.get(key) is not None), None)
        return _Answer(answer.text, answer.turns, finish_reason(value.get("finish_reason")), reward)
    if not isinstance(value, Mapping | list):
        return _Answer(text(value, "a response"), None)
    turns = conversation([value] if isinstance(value, Mapping) else value, "a response", "assistant", lost)
    if turns[0]["role"] != "assistant":
        raise DroppedRow("a response does not begin with an assistant turn")
    is_text = len(turns) == 1 and not {"tool_calls", "reasoning_content"} & turns[0].keys()
    return _Answer(str(turns[0]["content"]), None) if is_text else _Answer(None, turns)


def _tokens(ids: object, mask: object, logprobs: object, behavior: object) -> Tokens | None:
    if ids is None:
        if mask is not None or logprobs is not None:
            raise DroppedRow("a mask or log-probs without completion_token_ids")
        return None
    token_ids = read_ids(ids, "completion_token_ids")
    flags = None if mask is None else read_mask(mask, len(token_ids))
    if flags is not None and all(flags):
        flags = None
    if token_ids and flags is not None and not any(flags):
        raise DroppedRow("a response has no token that the policy sampled")
    return Tokens(token_ids, flags, _logprobs(logprobs, flags, token_ids), _logprobs(behavior, flags, token_ids))


def read_ids(value: object, name: str) -> list[int]:
    """Token IDs.

    Raises:
        DroppedRow: the value is something else.
    """
    ids = _per_token(value, name, lambda item: isinstance(item, int) and not isinstance(item, bool))
    if any(not SMALLEST_INT32 <= token <= LARGEST_INT32 for token in ids):
        raise DroppedRow(f"{name} holds a number that is not a token ID")
    return ids


def read_mask(value: object, length: int) -> list[bool]:
    """Flags, or zeros and ones.

    Raises:
        DroppedRow: the value is something else, or has another length.
    """
    flags = [bool(item) for item in _per_token(value, "completion_masks", lambda item: item in (0, 1))]
    if len(flags) != length:
        raise DroppedRow("completion_masks and completion_token_ids differ in length")
    return flags


def _logprobs(value: object, mask: Sequence[bool] | None, ids: Sequence[int]) -> list[float] | None:
    """One log-prob per token: of all tokens, or of the sampled ones alone; 0 at the others."""
    if value is None:
        return None
    sampled = mask or [True] * len(ids)
    items = _per_token(value, "completion_logprobs", lambda item: item is None or isinstance(item, int | float))
    if len(items) == sum(sampled):
        rest = iter(items)
        items = [next(rest) if flag else 0.0 for flag in sampled]
    if len(items) != len(ids):
        raise DroppedRow("completion_logprobs and completion_token_ids differ in length")
    logprobs = [item if flag else 0.0 for item, flag in zip(items, sampled, strict=True)]
    if any(item is None or not -LARGEST_FLOAT32 <= item <= 0 for item in logprobs):
        raise DroppedRow("completion_logprobs lacks a log-prob of a sampled token, or holds one above 0")
    return [float(item) for item in logprobs]


def _per_token(value: object, name: str, fits: Callable[[object], bool]) -> list[Any]:
    if not isinstance(value, list) or not all(fits(item) for item in value):
        raise DroppedRow(f"{name} is not a list of one value per token")
    return value


def _list(row: Row, name: str) -> list[object] | None:
    value = row.get(name)
    if value is not None and not isinstance(value, list):
        raise DroppedRow(f"{name} is not a list")
    return value


def read_reward(value: object, name: str) -> float | None:
    """A reward; None where the source has none.

    Raises:
        DroppedRow: the value is not a finite number that float32 can hold.
    """
    return _reward(value, f"{name} is")


def _reward(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_FLOAT32:
        raise DroppedRow(f"{where} a value that is neither a finite number nor null")
    return float(value)
