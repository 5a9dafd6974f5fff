"""One row of a source → one imported group, or the reason why the row is dropped."""

from collections.abc import Sequence
from dataclasses import dataclass

from grao_pipeline.fingerprints import fingerprint, prompt_fingerprint
from grao_pipeline.prompts.base import DroppedRow, Message, Row, filled, filled_or_none, rest
from grao_pipeline.prompts.canonical import canonical_json
from grao_pipeline.prompts.conversations import answer, check_answerable, check_unicode, conversation
from grao_pipeline.schemas import LARGEST_FLOAT32

REQUIRED = ("prompt", "responses")
FIELDS = (*REQUIRED, "rewards", "reference", "reference_reward", "rejected")
"""The fields that an import reads; every other column becomes metadata."""
POLICY = "imported"


@dataclass(frozen=True)
class ImportedGroup:
    """A prompt with its responses, and their rewards if the source has some.

    Example: `ImportedGroup([{"role": "user", "content": "2+2?"}], ["4", "5"], [1.0, 0.0], "four", None, None, "{}")`
    """

    messages: list[Message]
    completions: list[str]
    rewards: list[float | None] | None
    reference: str | None
    reference_reward: float | None
    rejected: str | None
    metadata: str

    @property
    def prompt_id(self) -> str:
        return prompt_fingerprint(self.messages, self.reference, self.rejected, self.metadata)

    @property
    def group_id(self) -> str:
        """A hash of the texts, not of token ids: a tokenizer may give two texts the same ids."""
        return fingerprint([self.prompt_id, POLICY, self.completions])


def read_group(row: Row) -> ImportedGroup:
    """The group of a row. A prompt is a text or a list of messages; a response is a text or one message.

    Raises:
        DroppedRow: a value is missing or malformed.
    """
    messages = conversation(row.get("prompt"), "prompt")
    check_answerable(messages)
    completions = _completions(row.get("responses"))
    reference = None if row.get("reference") is None else filled(answer(row["reference"], "reference"))
    rejected = None if row.get("rejected") is None else filled_or_none(answer(row["rejected"], "rejected"))
    rewards = _rewards(row.get("rewards"), len(completions))
    reference_reward = _reward(row.get("reference_reward"), "reference_reward is")
    if reference_reward is not None and reference is None:
        raise DroppedRow("reference_reward without a reference")
    metadata = canonical_json(rest(row, *FIELDS))
    group = ImportedGroup(messages, completions, rewards, reference, reference_reward, rejected, metadata)
    check_unicode(*(message["content"] for message in messages), *completions, reference, rejected, metadata)
    return group


def _completions(responses: object) -> list[str]:
    """The texts of the responses; an empty text is valid."""
    if not isinstance(responses, list):
        raise DroppedRow("responses is missing" if responses is None else "responses is not a list")
    if not responses:
        raise DroppedRow("responses is empty")
    return [answer(response, "a response") for response in responses]


def _rewards(rewards: object, num_responses: int) -> list[float | None] | None:
    if rewards is None:
        return None
    if not isinstance(rewards, list):
        raise DroppedRow("rewards is not a list")
    if len(rewards) != num_responses:
        raise DroppedRow("rewards and responses differ in length")
    return [_reward(reward, "rewards contains") for reward in rewards]


def _reward(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_FLOAT32:
        raise DroppedRow(f"{where} a value that is neither a finite number nor null")
    return float(value)


def missing_fields(fields: Sequence[str]) -> list[str]:
    """The required fields that a source lacks."""
    return [name for name in REQUIRED if name not in fields]
