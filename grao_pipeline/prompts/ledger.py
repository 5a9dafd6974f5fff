"""What the rows of a source become as prompts: converted by a format, without duplicates, held out or not."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pyarrow as pa

from grao_pipeline.fingerprints import prompt_fingerprint
from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row
from grao_pipeline.prompts.canonical import canonical_json
from grao_pipeline.prompts.conversations import check_answerable, check_unicode
from grao_pipeline.prompts.detect import choose_format
from grao_pipeline.prompts.general_columns import with_general_columns
from grao_pipeline.prompts.holdout import is_held_out
from grao_pipeline.prompts.intake import ArrowRows
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.pairing import REPEATED, Pairing, RatedRow
from grao_pipeline.prompts.rewriting import load_rewrite
from grao_pipeline.prompts.turns import texts_of
from grao_pipeline.schemas import PROMPTS

COUNTED = ("reference", "rejected", "tools", "reference_reasoning")


class PromptLedger:
    """The `Ledger` of `grao prompts`.

    Attributes:
        format: the format of the source, once `begin` was called.
        read_as: column → field, where a column was read under another name.
        counts: number of prompts that have a value, by column of the prompts table.
        metadata: number of prompts by field of their metadata.
        lost: number of prompts by what of their row no column can hold.
        num_paired: rows that became a part of the prompt of another row.
        num_rewritten: prompts that the rewrite changed.
    """

    format: PromptFormat

    def __init__(self, options: PromptsOptions) -> None:
        self.read_as: Mapping[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.metadata: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.num_rewritten = 0
        self._options = options
        self._rewrite = load_rewrite(options)
        self._blank: dict[str, None] = {}
        self._num_rows = 0
        self._prompt_ids: set[str] = set()
        self._pairing = Pairing()
        self._sides = {is_eval: ArrowRows(PROMPTS.arrow()) for is_eval in (False, True)}

    @property
    def product(self) -> str:
        return f"prompt of format '{self.format.name}'"

    @property
    def num_kept(self) -> int:
        return len(self._prompt_ids)

    @property
    def num_paired(self) -> int:
        return self._pairing.num_paired

    def table(self, held_out: bool) -> pa.Table:
        """The prompts of one side of the hold-out, in the source's order."""
        return self._sides[held_out].table()

    def begin(self, columns: Mapping[str, str], head: Iterator[Row]) -> None:
        fields = list(columns.values())
        choice = choose_format(self._options.format, columns, head)
        self.format, self.read_as = choice.format, choice.read_as
        self._blank = {self.read_as.get(name, name): None for name in fields}  # a row of a JSON file may lack some

    def keep(self, row: Row) -> None:
        number, self._num_rows = self._num_rows, self._num_rows + 1
        row = {self.read_as.get(name, name): value for name, value in row.items()}
        prompt = self.format.convert({**self._blank, **row})
        prompt = with_general_columns(prompt, has_own_answer=self.format.pairs_rows)
        check_answerable(prompt.messages)
        messages = prompt.messages
        if self._options.system is not None and messages[0]["role"] not in ("system", "developer"):
            prompt = replace(prompt, messages=[{"role": "system", "content": self._options.system}, *messages])
        metadata = _checked(prompt)
        if self.format.pairs_rows:
            self._pairing.add(RatedRow(number, row, prompt))
        else:
            self._add(prompt, metadata)

    def finish(self) -> Iterator[tuple[int, Row, str]]:
        for prompt in self._pairing.prompts():
            self._add(prompt, canonical_json(prompt.metadata))
        return ((rated.number, rated.row, reason) for rated, reason in self._pairing.left_out)

    def _add(self, prompt: Prompt, metadata: str) -> None:
        if self._rewrite is not None:
            rewritten = self._rewrite(prompt)
            metadata = _checked(rewritten)
            self.num_rewritten += rewritten != prompt
            prompt = rewritten
        prompt_id = prompt_fingerprint(
            prompt.messages, prompt.reference, prompt.rejected, metadata, prompt.tools, prompt.reference_reasoning
        )
        if prompt_id in self._prompt_ids:
            raise DroppedRow(REPEATED)
        self._prompt_ids.add(prompt_id)
        self.counts.update(name for name in COUNTED if getattr(prompt, name) is not None)
        self.metadata.update(name for name, value in prompt.metadata.items() if value is not None)
        self.lost.update(prompt.lost)
        self._sides[is_held_out(prompt.messages, self._options.eval_fraction)].add(
            {
                "prompt_id": prompt_id,
                "messages": prompt.messages,
                "tools": prompt.tools,
                "reference": prompt.reference,
                "reference_reasoning": prompt.reference_reasoning,
                "rejected": prompt.rejected,
                "metadata": metadata,
            }
        )


def _checked(prompt: Prompt) -> str:
    """The metadata of a prompt as JSON.

    Raises:
        DroppedRow: a text is not valid Unicode.
    """
    metadata = canonical_json(prompt.metadata)
    texts = [text for message in prompt.messages for text in texts_of(message)]
    check_unicode(*texts, *(getattr(prompt, name) for name in COUNTED), metadata)
    return metadata
