"""The account of a source: every row that is read is either kept or dropped for a reason that is counted."""

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa

from grao_pipeline.fingerprints import DIGITS, prompt_fingerprint
from grao_pipeline.prompts.base import DroppedRow, PromptFormat, Row
from grao_pipeline.prompts.canonical import canonical_json, plain
from grao_pipeline.prompts.conversations import check_answerable
from grao_pipeline.prompts.holdout import is_held_out
from grao_pipeline.schemas import PROMPTS
from grao_pipeline.storage.directory import Directory

DUPLICATE = "exact duplicate of an earlier row"
ROWS_PER_CHUNK = 1000


@dataclass
class Ledger:
    """Takes the rows of a source one by one.

    Attributes:
        blank: every column of the source, as null; a row of a JSON file need not have all of them.
        mapping: source column → field, applied before the format.
        rejects: the dropped rows as JSON, where `keep_rejects`.
    """

    format: PromptFormat
    blank: dict[str, None]
    mapping: dict[str, str]
    system: str | None
    eval_fraction: float
    keep_rejects: bool
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    rejects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: set[str] = set()
        self._sides: dict[bool, _Table] = {False: _Table(), True: _Table()}

    def take(self, row: Row) -> None:
        """Keep or drop the next row."""
        self._hash.update(canonical_json(row).encode("utf-8", "surrogatepass") + b"\n")
        try:
            self._keep(row)
        except DroppedRow as reason:
            self.dropped[str(reason)] += 1
            if self.keep_rejects:
                entry = {"row": self.read, "reason": str(reason), "data": plain(row)}
                self.rejects.append(json.dumps(entry, ensure_ascii=False))
        self.read += 1

    @property
    def kept(self) -> int:
        return len(self._seen)

    def source_fingerprint(self) -> str:
        """The hash of the rows read, independent of the kind of file that they came in."""
        return self._hash.hexdigest()[:DIGITS]

    def dropped_by_reason(self) -> dict[str, int]:
        """Counts by reason, the most frequent first."""
        return dict(sorted(self.dropped.items(), key=lambda item: (-item[1], item[0])))

    def table(self, held_out: bool) -> pa.Table:
        """The kept prompts of one side of the hold-out, in the source's order."""
        return self._sides[held_out].arrow()

    def _keep(self, row: Row) -> None:
        fields = {self.mapping.get(name, name): value for name, value in {**self.blank, **row}.items()}
        prompt = self.format.convert(fields)
        check_answerable(prompt.messages)
        messages = prompt.messages
        if self.system is not None and messages[0]["role"] not in ("system", "developer"):
            messages = [{"role": "system", "content": self.system}, *messages]
        metadata = canonical_json(prompt.metadata)
        _check_unicode(*(m["content"] for m in messages), prompt.reference, prompt.rejected, metadata)
        prompt_id = prompt_fingerprint(messages, prompt.reference, prompt.rejected, metadata)
        if prompt_id in self._seen:
            raise DroppedRow(DUPLICATE)
        self._seen.add(prompt_id)
        side = self._sides[is_held_out(messages, self.eval_fraction)]
        side.add((prompt_id, messages, prompt.reference, prompt.rejected, metadata))


class _Table:
    """Rows of the prompts table, turned to Arrow chunk by chunk: Python's objects take far more memory."""

    def __init__(self) -> None:
        self._rows: list[tuple[object, ...]] = []
        self._chunks: list[pa.Table] = [PROMPTS.arrow().empty_table()]

    def add(self, row: tuple[object, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_CHUNK:
            self._flush()

    def arrow(self) -> pa.Table:
        self._flush()
        return pa.concat_tables(self._chunks)

    def _flush(self) -> None:
        if self._rows:
            columns = [list(values) for values in zip(*self._rows, strict=True)]
            self._chunks.append(pa.table(columns, schema=PROMPTS.arrow()))
            self._rows = []


def _check_unicode(*texts: str | None) -> None:
    """JSON can spell half of a surrogate pair; UTF-8, and so Parquet and every tokenizer, cannot."""
    try:
        for text in texts:
            if text is not None and not text.isascii():
                text.encode()
    except UnicodeEncodeError as error:
        raise DroppedRow("a text is not valid Unicode") from error


def write_rejects(path: str, rejects: list[str]) -> None:
    """Write dropped rows, a line each. An unpaired surrogate is written as the JSON escape that spelt it."""
    lines = "".join(f"{line}\n" for line in rejects)
    parent, name = os.path.split(path)
    Directory(parent or ".").write(name, lines.encode("utf-8", "backslashreplace"))
