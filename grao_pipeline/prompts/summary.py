"""What `grao prompts` says that it did."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from grao_pipeline import notes

ANSWER_LIKE = ("answer", "response", "output", "solution", "target", "expected_answer", "final_answer")
CONTEXT_LIKE = ("context", "passage", "document", "input", "history")
REASONING_LIKE = ("reasoning_content", "reasoning", "thinking", "cot", "Complex_CoT", "rationale")
ALWAYS_SHOWN = ("read", "kept", "references")


@dataclass(frozen=True)
class PromptsSummary:
    """What `build_prompts` did. `kept + paired + sum(dropped.values()) == read`, always.

    Attributes:
        paired: rows that became the rejected answer of the prompt of another row (format `kto`).
        dropped: number of rows by reason, the most frequent first; exact duplicates are one of the reasons.
        tables: number of rows of each table, by its path.
        format: the format that was applied.
        read_as: column → field, where a column was read under another name.
        references: prompts that have a reference; so for the counts of rejected answers, tools and reasoning.
        metadata: number of prompts that have a value, by column that went to the metadata.
        lost: number of prompts by what of their row the table cannot hold.
        rewritten: prompts that the rewrite changed.
        split: the split that was read.
        files: the files that were read; empty for a hub dataset.
        other_splits: splits of the source that were not read.
        left_out: data files of a directory that belong to no split.
        cached: the tables were already complete; nothing was written.
        notes: what people should know of the result.
    """

    read: int
    kept: int
    paired: int
    dropped: dict[str, int]
    tables: dict[str, int]
    format: str
    read_as: dict[str, str]
    references: int
    rejected: int
    tools: int
    reasoning: int
    metadata: dict[str, int]
    lost: dict[str, int]
    split: str
    files: tuple[str, ...]
    other_splits: tuple[str, ...]
    left_out: tuple[str, ...]
    cached: bool
    rewritten: int = 0
    notes: tuple[str, ...] = ()

    def for_people(self) -> dict[str, object]:
        """Without zeros, with lists as words; a metadata field of every prompt without its count."""
        value = {name: item for name, item in asdict(self).items() if item or name in ALWAYS_SHOWN}
        value["metadata"] = ", ".join(
            name if count == self.kept else f"{name} ({count:,})" for name, count in self.metadata.items()
        )
        value["read_as"] = ", ".join(f"{column} as {field}" for column, field in self.read_as.items())
        for name in ("files", "other_splits", "left_out"):
            value[name] = _words(getattr(self, name))
        value["notes"] = list(self.notes)
        return value


def notes_on(summary: PromptsSummary, mapping: Mapping[str, str]) -> Iterator[str]:
    """What may not be what people expect.

    Args:
        mapping: column → field, as --map has them.
    """
    columns = {"answer": "reward_model.ground_truth"} if summary.format == "verl" else {}
    columns |= {field: column for column, field in mapping.items()}
    yield from notes.references(summary.references, summary.kept)
    for name in ANSWER_LIKE:
        if summary.references == 0 and name in summary.metadata:
            column = columns.get(name, name)
            yield f"If column '{column}' holds the reference answer, give --map {column}=reference."
    for name in CONTEXT_LIKE:
        if name in summary.metadata:
            yield f"Column '{name}' went to the metadata; it is not part of the prompt."
    for name in REASONING_LIKE:
        if summary.reasoning == 0 and summary.references and name in summary.metadata:
            yield f"If column '{name}' holds the reasoning before the answer, give --map {name}=reference_reasoning."
    if "responses" in summary.metadata:
        yield "Column 'responses' went to the metadata. `grao import` makes groups of it."


def _words(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
