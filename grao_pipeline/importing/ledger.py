"""What the rows of a source become as groups: without duplicates, with their rewards where they have some."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.importing.batch_files import BatchRequests
from grao_pipeline.importing.columns import INPUT, Layout, choose_layout
from grao_pipeline.importing.encoder import EncodedPrompt, EncodedSample, PlainEncoder
from grao_pipeline.importing.pairs import pair_as_group
from grao_pipeline.importing.rendered import turns_of_rendered
from grao_pipeline.importing.rows import POLICY, ImportedGroup, ImportedPrompt, read_group
from grao_pipeline.importing.samples import ImportedSample
from grao_pipeline.prompts.base import DroppedRow, Row
from grao_pipeline.prompts.canonical import canonical_json
from grao_pipeline.prompts.intake import ArrowRows
from grao_pipeline.schemas import GROUPS, SCORES

DUPLICATE = "same prompt and responses as an earlier row"
REWARD_COLUMNS = ("rewards", "reference_reward")
SCHEMA = pa.schema([*GROUPS.arrow(), *(SCORES.arrow().field(name) for name in REWARD_COLUMNS)])


@dataclass
class ImportCounts:
    """What a ledger counted of what it kept."""

    samples: int = 0
    rewards: int = 0
    references: int = 0
    has_rewards: bool = False
    """Whether any sample or reference has one."""
    sampled_tokens: int = 0
    context_tokens: int = 0
    """Tokens of responses that the policy did not sample."""
    unknown_endings: int = 0
    """Samples whose finish reason the source does not say, and their token IDs neither."""
    finish_reasons: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    """Number of groups by column whose values differ between their samples."""
    lost: Counter[str] = field(default_factory=Counter)
    rendered_prompts: Counter[str] = field(default_factory=Counter)
    """Rows of verl and OpenRLHF, whose prompts went through a chat template, by what became of the prompt."""


@dataclass
class _Gathered:
    """A group whose samples are in several rows."""

    prompt: EncodedPrompt
    samples: list[ImportedSample]
    encoded: list[EncodedSample]
    metadata: dict[str, object]
    differing: set[str] = field(default_factory=set)


class GroupLedger:
    """The `Ledger` of `grao import`.

    Args:
        group_by: further columns whose values distinguish groups, where a row is a sample.
        requests: of the batch whose output the source is.
    """

    product = "group"

    def __init__(
        self, encoder: PlainEncoder, group_by: tuple[str, ...] = (), requests: BatchRequests | None = None
    ) -> None:
        self.counts = ImportCounts()
        self.layout = Layout("groups")
        self._encoder = encoder
        self._group_by = group_by
        self._requests = requests
        self._group_ids: set[str] = set()
        self._gathered: dict[str, _Gathered] = {}
        self._rows = ArrowRows(SCHEMA)

    def table(self) -> pa.Table:
        """The groups, in the source's order, with the columns of `SCHEMA`."""
        return self._rows.table()

    def begin(self, columns: Mapping[str, str], head: Iterator[Row]) -> None:
        names = list(columns.values())
        self.layout = choose_layout(names, head)
        if self.layout.kind == "batch" and self._requests is None:
            raise UsageError(
                "The source is the output file of a batch; its prompts are in the input file: give --batch-input FILE."
            )
        if self.layout.kind != "batch" and self._requests is not None:
            raise UsageError(
                "applies only to an output file of OpenAI's batch API, with custom_id and response.",
                option="batch_input",
            )
        if self._group_by and self._is_group_a_row:
            raise UsageError("applies only where a row is one sample; here a row is a group.", option="group_by")
        unknown = [name for name in self._group_by if name not in names and self.layout.kind != "batch"]
        if unknown:
            raise UsageError(f"the source has no column '{unknown[0]}'. It has: {', '.join(names)}.", option="group_by")

    def keep(self, row: Row) -> None:
        lost: set[str] = set()
        group = read_group(self._by_field(row), lost)
        if self._is_group_a_row:
            if group.group_id in self._group_ids:
                raise DroppedRow(DUPLICATE)
            prompt = self._encoder.prompt(group.prompt)
            encoded = [self._encoder.sample(prompt, sample) for sample in group.samples]
            self._add(group, prompt, encoded)
        else:
            self._gather(group)
        self.counts.lost.update(lost)

    @property
    def _is_group_a_row(self) -> bool:
        return self.layout.kind in ("groups", "pairs")

    def _by_field(self, row: Row) -> Row:
        if self._requests is not None:
            return self._requests.joined(row)
        if self.layout.kind == "pairs":
            return pair_as_group(row)
        fields = self.layout.read(row)
        prompt = fields.get("prompt")
        if self.layout.fields.get(INPUT) != "prompt" or not isinstance(prompt, str):
            return fields
        turns = turns_of_rendered(prompt)
        self.counts.rendered_prompts["left as texts" if turns is None else "divided into turns"] += 1
        return fields if turns is None else {**fields, "prompt": turns}

    def finish(self) -> Iterator[tuple[int, Row, str]]:
        """Add the groups whose samples are in several rows. No row is dropped here."""
        for gathered in self._gathered.values():
            self.counts.differing.update(gathered.differing)
            prompt = replace(gathered.prompt.prompt, metadata=gathered.metadata)
            self._add(ImportedGroup(prompt, gathered.samples), gathered.prompt, gathered.encoded)
        self._gathered = {}
        return iter(())

    def _gather(self, group: ImportedGroup) -> None:
        """Add the samples of a row to the group of its prompt. Metadata that differs between rows is left out."""
        prompt = group.prompt
        shared = [prompt.messages, prompt.tools, prompt.reference, prompt.reference_reasoning, prompt.rejected]
        by_columns = [canonical_json(prompt.metadata.get(name)) for name in self._group_by]
        key = fingerprint([*shared, prompt.reference_reward, prompt.token_ids, by_columns])
        gathered = self._gathered.get(key)
        encoded_prompt = self._encoder.prompt(prompt) if gathered is None else gathered.prompt
        encoded = [self._encoder.sample(encoded_prompt, sample) for sample in group.samples]
        if gathered is None:
            self._gathered[key] = _Gathered(encoded_prompt, group.samples, encoded, dict(prompt.metadata))
            return
        gathered.samples += group.samples
        gathered.encoded += encoded
        names = gathered.metadata.keys() | prompt.metadata.keys()
        differing = {name for name in names if gathered.metadata.get(name) != prompt.metadata.get(name)}
        gathered.differing |= differing
        for name in differing:
            gathered.metadata.pop(name, None)

    def _add(self, group: ImportedGroup, prompt: EncodedPrompt, encoded: list[EncodedSample]) -> None:
        self._group_ids.add(group.group_id)
        self._count(group, encoded)
        self._rows.add(_columns(group.group_id, group.prompt, prompt, group.samples, encoded))

    def _count(self, group: ImportedGroup, encoded: list[EncodedSample]) -> None:
        counts, rewards = self.counts, [sample.reward for sample in group.samples]
        counts.samples += len(rewards)
        counts.rewards += sum(reward is not None for reward in rewards)
        counts.references += group.prompt.reference is not None
        counts.has_rewards |= counts.rewards > 0 or group.prompt.reference_reward is not None
        for sample, columns in zip(group.samples, encoded, strict=True):
            tokens = columns.tokens
            num_sampled = len(tokens.ids) if tokens.mask is None else sum(tokens.mask)
            counts.sampled_tokens += num_sampled
            counts.context_tokens += len(tokens.ids) - num_sampled
            counts.finish_reasons[columns.finish_reason] += 1
            counts.unknown_endings += sample.finish_reason is None and (sample.tokens is None)


def _columns(
    group_id: str,
    prompt: ImportedPrompt,
    encoded_prompt: EncodedPrompt,
    samples: list[ImportedSample],
    encoded: list[EncodedSample],
) -> Row:
    tokens = [sample.tokens for sample in encoded]
    has_ids = any(sample.ids for sample in tokens)
    splits = [sample.split for sample in encoded]
    pairs = [(None, sample.text) if sample.split is None else sample.split for sample in encoded]
    is_split = any(split is not None for split in splits)
    return {
        "group_id": group_id,
        "prompt_id": prompt.prompt_id,
        "messages": encoded_prompt.messages,
        "tools": prompt.tools,
        "reference": prompt.reference,
        "reference_reasoning": prompt.reference_reasoning,
        "rejected": prompt.rejected,
        "metadata": prompt.metadata_json,
        "prompt_token_ids": encoded_prompt.token_ids,
        "reference_token_ids": encoded_prompt.reference_token_ids,
        "completions": [sample.text for sample in encoded],
        "reasoning": [reasoning for reasoning, _ in pairs] if is_split else None,
        "answers": [answer for _, answer in pairs] if is_split else None,
        "completion_token_ids": [sample.ids for sample in tokens],
        "completion_logprobs": _unless_all_null([sample.logprobs for sample in tokens]),
        "completion_behavior_logprobs": _unless_all_null([sample.behavior_logprobs for sample in tokens]),
        "completion_masks": _unless_all_null([sample.mask for sample in tokens]),
        "completion_token_ends": _unless_all_null([sample.token_ends for sample in encoded]),
        "finish_reasons": [sample.finish_reason for sample in encoded],
        "policy": POLICY,
        "round": 0,
        "retokenized": any(sample.is_retokenized for sample in encoded) if has_ids else None,
        "rewards": [sample.reward for sample in samples],
        "reference_reward": prompt.reference_reward,
    }


def _unless_all_null(
    values: list[list[float] | None] | list[list[bool] | None] | list[list[int] | None],
) -> object:
    return None if all(value is None for value in values) else values
