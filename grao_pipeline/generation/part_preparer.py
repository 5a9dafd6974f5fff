"""Prompts of a part → its rows without samples, and the requests that are still to be sampled."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.generation.engines.base import ABORTED, Request, Sample
from grao_pipeline.generation.extend import ExtendedGroups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.generation.policy import Policy
from grao_pipeline.generation.rows import RowBuilder
from grao_pipeline.generation.sample_counts import SampleCounts
from grao_pipeline.generation.summary import GenerateSummary
from grao_pipeline.messages import plain_messages
from grao_pipeline.models.templates import RefusedConversation
from grao_pipeline.progress import Progress
from grao_pipeline.storage.reader import TableReader, open_table


@dataclass
class PreparedPart:
    """A part between its prompts and its groups."""

    index: int
    rows: list[Row]
    requests: list[Request]
    """What is still to be sampled; `Request.key` is (part, row)."""
    earlier: dict[int, list[Sample]] = field(default_factory=dict)
    """Samples that need no engine, by row number: those of `--extend`, and aborted ones."""
    finished: set[int] = field(default_factory=set)
    """Numbers of the rows that a stopped run finished."""
    sampled: dict[int, list[Sample]] = field(default_factory=dict)
    """New samples by row number."""

    @property
    def is_complete(self) -> bool:
        return len(self.sampled) == len(self.requests)


class PartPreparer:
    """Prepares the parts of one run, in any order.

    Args:
        prompts: the prompts table; read here, once.
        summary: counts the prompts and references that are too long, and the samples that need no engine.

    Raises:
        InputError: a prompt appears twice, or `--extend` or `--samples-file` cannot be read.
    """

    def __init__(
        self, options: GenerateOptions, policy: Policy, prompts: TableReader, summary: GenerateSummary
    ) -> None:
        self._options = options
        self._policy = policy
        self._prompts = read_prompts(prompts)[: options.limit]
        self._summary = summary
        self._builder = RowBuilder(policy, options, summary)
        self._refused: set[str] = set()
        self._counts = SampleCounts(options)
        self._extended = (
            ExtendedGroups(open_table(options.extend, "groups"), policy.fingerprint) if options.extend else None
        )

    @property
    def builder(self) -> RowBuilder:
        """Makes the rows of the run."""
        return self._builder

    def prepare(self, index: int, recovered: pa.Table | None) -> PreparedPart:
        """The rows and requests of part `index`.

        Args:
            recovered: groups of this part that a stopped run finished.

        Raises:
            InputError: a prompt cannot be sampled from.
            MismatchError: a group of `--extend` does not fit its prompt.
        """
        part = PreparedPart(index, [], [])
        finished = {} if recovered is None else {row["prompt_id"]: row for row in recovered.to_pylist()}
        self._summary.groups_recovered += len(finished)
        for number, prompt in enumerate(self._prompts_of(index)):
            if prompt["prompt_id"] in finished:
                part.rows.append(finished[prompt["prompt_id"]])
                part.finished.add(number)
            else:
                self._add_prompt(part, number, prompt)
        return part

    def check(self, indices: Sequence[int], progress: Progress) -> None:
        """Render every prompt of these parts, before anything is sampled. With `--on-template-error skip`, prompts on
        which the chat template fails are left out; some must remain.

        Raises:
            RefusedConversation: the template fails on a prompt.
        """
        errors = []
        prompts = [prompt for index in indices for prompt in self._prompts_of(index)]
        for prompt in prompts:
            try:
                self._builder.check(prompt)
            except RefusedConversation as error:
                errors.append(error)
                self._refused.add(prompt["prompt_id"])
        if not errors:
            return
        self._summary.prompts_refused = len(errors)
        if len(errors) == len(self._prompts):
            raise RefusedConversation(f"The chat template fails on every prompt. {errors[0]}")
        counted = f"The chat template fails on {len(errors)} of {len(prompts)} prompts. {errors[0]}"
        if self._options.on_template_error == "stop":
            raise RefusedConversation(f"{counted}. Correct them, or leave them out with --on-template-error skip.")
        progress.warn(f"{counted}. They are left out.")

    def _prompts_of(self, index: int) -> list[Row]:
        """The prompts of a part that are not left out."""
        size = self._options.prompts_per_part
        part = self._prompts[index * size : (index + 1) * size]
        return [prompt for prompt in part if prompt["prompt_id"] not in self._refused]

    def _add_prompt(self, part: PreparedPart, number: int, prompt: Row) -> None:
        """Add a prompt's row to its part, and a request for the samples that it lacks."""
        row = self._builder.begin(prompt)
        part.rows.append(row)
        earlier = self._extended.samples(row) if self._extended is not None else []
        self._summary.samples_extended += len(earlier)
        part.earlier[number] = earlier
        num_samples = self._counts.samples(prompt)
        if num_samples == 0:
            if not earlier:
                raise InputError(f"Prompt {prompt['prompt_id']} gets 0 samples; a group needs at least one.")
            return
        room = self._policy.context_length - len(row["prompt_token_ids"])
        if room < 1:
            self._summary.prompts_too_long += 1
            part.earlier[number] = earlier + [ABORTED] * num_samples
            return
        self._summary.prompts_clipped += room < self._options.max_new_tokens
        part.requests.append(
            Request(
                key=(part.index, number),
                prompt_token_ids=row["prompt_token_ids"],
                num_samples=num_samples,
                seed=self._group_seed(prompt["prompt_id"], len(earlier)),
                max_new_tokens=min(room, self._options.max_new_tokens),
                messages=plain_messages(prompt["messages"]),
                tools=prompt["tools"],
            )
        )

    def _group_seed(self, prompt_id: str, num_earlier: int) -> int:
        """A 60-bit seed per prompt. It is a hash, since neighboring seeds share samples in vLLM."""
        parts = [self._options.seed, self._options.round, prompt_id, *([num_earlier] if num_earlier else [])]
        return int(fingerprint(parts)[:15], 16)


def read_prompts(prompts: TableReader) -> list[Row]:
    """The rows of a prompts table.

    Raises:
        InputError: a prompt ID appears twice.
    """
    rows: list[Row] = prompts.arrow().to_pylist()
    seen: set[str] = set()
    for row in rows:
        if row["prompt_id"] in seen:
            raise InputError(f"{prompts.url}: prompt ID {row['prompt_id']} appears twice; it must be unique.")
        seen.add(row["prompt_id"])
    return rows
