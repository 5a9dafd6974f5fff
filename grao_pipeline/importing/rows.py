"""One row of a source → a prompt with its samples, or the reason why the row is dropped."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from grao_pipeline.fingerprints import fingerprint, prompt_fingerprint
from grao_pipeline.importing.columns import METADATA
from grao_pipeline.importing.samples import ImportedSample, read_ids, read_reward, read_samples
from grao_pipeline.importing.shapes import divided
from grao_pipeline.prompts.base import DroppedRow, Message, Row, filled_or_none
from grao_pipeline.prompts.canonical import canonical_json
from grao_pipeline.prompts.conversations import (
    answer,
    answer_turn,
    check_answerable,
    check_unicode,
    conversation,
    reference_of,
)
from grao_pipeline.prompts.tools import read_tools
from grao_pipeline.prompts.turns import texts_of

POLICY = "imported"


@dataclass(frozen=True)
class ImportedPrompt:
    """What the samples of a group share.

    Attributes:
        messages: None where the source has token IDs alone.
        token_ids: None where the source has none.
    """

    messages: list[Message] | None
    tools: str | None = None
    reference: str | None = None
    reference_reasoning: str | None = None
    reference_reward: float | None = None
    rejected: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    token_ids: list[int] | None = None

    @property
    def metadata_json(self) -> str:
        return canonical_json(self.metadata)

    @property
    def prompt_id(self) -> str:
        messages = self.messages or [{"role": "user", "content": canonical_json(self.token_ids)}]
        return prompt_fingerprint(
            messages, self.reference, self.rejected, self.metadata_json, self.tools, self.reference_reasoning
        )


@dataclass(frozen=True)
class ImportedGroup:
    """A prompt with its samples.

    Example: `ImportedGroup(ImportedPrompt([{"role": "user", "content": "2+2?"}]), [ImportedSample("4", reward=1.0)])`
    """

    prompt: ImportedPrompt
    samples: list[ImportedSample]

    @property
    def group_id(self) -> str:
        """A hash of what the source has, not of token IDs made from it: a tokenizer may give two texts the same IDs."""
        return fingerprint([self.prompt.prompt_id, POLICY, [sample.identity for sample in self.samples]])


def read_group(row: Row, lost: set[str] | None = None) -> ImportedGroup:
    """The group of a row. A prompt is a text or a list of messages; a response is a text, a turn or a list of turns.

    Args:
        row: by field, with lists of what the samples have.
        lost: gets the names of what neither the prompt nor a sample can hold.

    Raises:
        DroppedRow: a value is missing or malformed.
    """
    lost = set() if lost is None else lost
    row = divided(row)
    token_ids = row.get("prompt_token_ids")
    ids = None if token_ids is None else read_ids(token_ids, "prompt_token_ids")
    messages = None
    if ids is None or row.get("prompt") is not None:
        messages = conversation(row.get("prompt"), "prompt", lost=lost)
        check_answerable(messages)
    samples = read_samples(row, lost)
    reference, reasoning = None, None
    if row.get("reference") is not None:
        reference, reasoning = reference_of(answer_turn(row["reference"], "reference", lost), lost)
    rejected = None if row.get("rejected") is None else filled_or_none(answer(row["rejected"], "rejected"))
    reference_reward = read_reward(row.get("reference_reward"), "reference_reward")
    if reference_reward is not None and reference is None:
        raise DroppedRow("reference_reward without a reference")
    prompt = ImportedPrompt(
        messages,
        read_tools(row.get("tools")),
        reference,
        reasoning,
        reference_reward,
        rejected,
        _metadata(row),
        ids,
    )
    check_unicode(*_texts(prompt, samples))
    return ImportedGroup(prompt, samples)


def _metadata(row: Row) -> dict[str, object]:
    columns = row.get(METADATA, {})
    return {name: value for name, value in columns.items() if value is not None}


def _texts(prompt: ImportedPrompt, samples: list[ImportedSample]) -> list[str | None]:
    turns = [*(prompt.messages or ()), *(turn for sample in samples for turn in sample.turns or ())]
    texts = [text for turn in turns for text in texts_of(turn)]
    references = [prompt.reference, prompt.reference_reasoning, prompt.rejected, prompt.tools]
    return [*texts, *(sample.text for sample in samples), *references, prompt.metadata_json]
