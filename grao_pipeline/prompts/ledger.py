"""What the rows of a source become as prompts: converted by a format, without duplicates, held out or not."""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from grao_pipeline.fingerprints import prompt_fingerprint
from grao_pipeline.prompts.base import DroppedRow, PromptFormat, Row
from grao_pipeline.prompts.canonical import canonical_json
from grao_pipeline.prompts.conversations import check_answerable, check_unicode
from grao_pipeline.prompts.formats.detect import choose_format
from grao_pipeline.prompts.holdout import is_held_out
from grao_pipeline.prompts.intake import ArrowRows
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.schemas import PROMPTS

DUPLICATE = "exact duplicate of an earlier row"


class PromptLedger:
    """The `Ledger` of `grao prompts`.

    Attributes:
        format: the format of the source, once `begin` was called.
    """

    format: PromptFormat

    def __init__(self, options: PromptsOptions) -> None:
        self._options = options
        self._blank: dict[str, None] = {}
        self._prompt_ids: set[str] = set()
        self._sides = {is_eval: ArrowRows(PROMPTS.arrow()) for is_eval in (False, True)}

    @property
    def product(self) -> str:
        return f"prompt of format '{self.format.name}'"

    @property
    def num_kept(self) -> int:
        return len(self._prompt_ids)

    def table(self, held_out: bool) -> pa.Table:
        """The prompts of one side of the hold-out, in the source's order."""
        return self._sides[held_out].table()

    def begin(self, columns: Mapping[str, str], head: Iterator[Row]) -> None:
        fields = list(columns.values())
        self.format = choose_format(self._options.format, fields, head)
        self._blank = dict.fromkeys(fields)  # a row of a JSON file may lack some

    def keep(self, row: Row) -> None:
        prompt = self.format.convert({**self._blank, **row})
        check_answerable(prompt.messages)
        messages = prompt.messages
        if self._options.system is not None and messages[0]["role"] not in ("system", "developer"):
            messages = [{"role": "system", "content": self._options.system}, *messages]
        metadata = canonical_json(prompt.metadata)
        check_unicode(*(message["content"] for message in messages), prompt.reference, prompt.rejected, metadata)
        prompt_id = prompt_fingerprint(
            messages, prompt.reference, prompt.rejected, metadata, prompt.tools, prompt.reference_reasoning
        )
        if prompt_id in self._prompt_ids:
            raise DroppedRow(DUPLICATE)
        self._prompt_ids.add(prompt_id)
        self._sides[is_held_out(messages, self._options.eval_fraction)].add(
            {
                "prompt_id": prompt_id,
                "messages": messages,
                "tools": prompt.tools,
                "reference": prompt.reference,
                "reference_reasoning": prompt.reference_reasoning,
                "rejected": prompt.rejected,
                "metadata": metadata,
            }
        )
