"""Summaries on standard output: for people, or as one JSON object."""

import json
from dataclasses import asdict, is_dataclass
from typing import Any

import click

from grao_pipeline.cli.terminal import echo
from grao_pipeline.redaction import without_credentials

LONGEST_CELL = 24
SHOWN_IF_ANY = {
    "parts_left_to_other_workers",
    "parts_rewritten",
    "samples_retried",
    "errors_left",
    "cache_damaged",
    "tokens_spent",
    "tokens_saved",
    "groups_recovered",
    "samples_extended",
    "prompts_clipped",
    "prompts_too_long",
    "prompts_refused",
    "empty_completions",
    "references_too_long",
    "references_without_tokens",
    "references_without_reasoning",
    "references_without_answer",
    "responses_without_reasoning",
    "samples_without_answer",
    "reference_reasoning_left_out",
    "groups_too_old",
    "skipped_steps",
    "resumed_from_step",
}
"""Counts of what is unusual: people are shown them where they are not 0."""


def print_summary(summary: Any, as_json: bool, title: str) -> None:
    """Print a summary.

    Args:
        summary: a dataclass or a dictionary; `for_people()`, where it has one, gives what people are shown. Its
            `notes` become the last lines.
    """
    value = asdict(summary) if is_dataclass(summary) and not isinstance(summary, type) else summary
    if as_json:
        click.echo(json.dumps(_without_credentials(value)))
        return
    if hasattr(summary, "for_people"):
        value = summary.for_people()
    echo(title)
    for key, item in value.items():
        if key in ("notes", "remarks") or (key in SHOWN_IF_ANY and not item):
            continue
        label = key.replace("_", " ")
        if isinstance(item, list) and item and isinstance(item[0], dict):
            echo(f"  {label}\n{_readable_rows(item)}")
        elif item not in (None, "", {}, []):
            echo(f"  {label:<26} {readable(item)}")
    for note in value.get("notes", []):
        echo(f"note: {note}")


def _without_credentials(value: Any) -> Any:
    """A value whose texts hold no credentials of URLs."""
    if isinstance(value, dict):
        return {key: _without_credentials(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_credentials(item) for item in value]
    return without_credentials(value) if isinstance(value, str) else value


def readable(value: object) -> str:
    """A value for people: numbers with separators, dictionaries as `key value, key value`."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {readable(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _readable_rows(rows: list[dict[str, object]]) -> str:
    """Dictionaries of the same keys as a table; long words are cut."""
    lines = [[key.replace("_", " ") for key in rows[0]]]
    lines += [["–" if item is None else readable(item) for item in row.values()] for row in rows]
    lines = [[cell if len(cell) <= LONGEST_CELL else f"{cell[:8]}…" for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("    " + "  ".join(map(str.rjust, line, widths)) for line in lines)
