"""A row of a groups table, with the rewards of its samples, as exports read it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grao_pipeline.contract import Row
from grao_pipeline.messages import Message, plain_messages

ABORTED = "a sample was aborted"
MASKED = "a filter of grao advantages masked a sample"
NO_REWARD = "a sample has no reward"
TRAJECTORY = "a sample is a trajectory with turns of tools, of which a groups table has only the tokens"
UNFINISHED = "the reasoning of a sample never ends, so that it has no answer"


@dataclass(frozen=True)
class Answer:
    """An answer of the assistant.

    Attributes:
        place: of the sample in its group; None for the reference.
        reward: None where it has none.
    """

    text: str
    reasoning: str | None = None
    reward: float | None = None
    place: int | None = None

    @property
    def turns(self) -> list[Message]:
        """As a conversation of one turn."""
        turn: Message = {"role": "assistant", "content": self.text}
        if self.reasoning is not None:
            turn = {**turn, "reasoning_content": self.reasoning}
        return [turn]


@dataclass(frozen=True)
class Group:
    """A group as exports read it.

    Attributes:
        row: the row of the groups table, by column.
        companion: the row of the scores or advantages; empty without such a table.
        left_out: why samples are not among `answers`, one reason per sample.
    """

    row: Mapping[str, Any]
    companion: Mapping[str, Any]
    answers: list[Answer]
    left_out: list[str]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[Message]:
        return [*plain_messages(self.row["messages"])]

    @property
    def reference(self) -> Answer | None:
        """The reference answer, with its reward."""
        text = self.row["reference"]
        if text is None:
            return None
        return Answer(text, self.row["reference_reasoning"], self.companion.get("reference_reward"))

    @property
    def rated(self) -> list[Answer]:
        """The answers that have a reward, the best first; of equal rewards in the order of the samples."""
        rated = [answer for answer in self.answers if answer.reward is not None]
        return sorted(rated, key=lambda answer: -(answer.reward or 0.0))

    @property
    def shared(self) -> dict[str, object]:
        """What rows of every format for training hold: the prompt, its tools, and where it comes from."""
        tools = {} if self.row["tools"] is None else {"tools": self.row["tools"]}
        return {"prompt": self.messages, **tools}


def read_group(row: Row, companion: Row) -> Group:
    """A group from its row, and the row of its scores or advantages."""
    answers: list[Answer] = []
    left_out: list[str] = []
    for place, reason in enumerate(row["finish_reasons"]):
        problem = _problem(row, companion, place, reason)
        if problem is not None:
            left_out.append(problem)
            continue
        text, thought = row["completions"][place], None
        if row["answers"] is not None and row["answers"][place] is not None:
            text, thought = row["answers"][place], row["reasoning"][place]
        rewards = companion.get("rewards")
        answers.append(Answer(text, thought, None if rewards is None else rewards[place], place))
    return Group(row, companion, answers, left_out, json.loads(row["metadata"]))


def _problem(row: Row, companion: Row, place: int, reason: str) -> str | None:
    """Why a sample cannot be exported; None where it can."""
    if reason == "abort":
        return ABORTED
    masks = row["completion_masks"]
    if masks is not None and masks[place] is not None and not all(masks[place]):
        return TRAJECTORY
    if row["answers"] is not None and row["reasoning"][place] is not None and row["answers"][place] is None:
        return UNFINISHED
    masked_by = companion.get("masked_by")
    if masked_by is not None and masked_by[place] is not None:
        return MASKED
    return NO_REWARD if "rewards" in companion and companion["rewards"][place] is None else None
