"""Summaries on standard output: for people, or as one JSON object."""

import json
import re
import shutil
from dataclasses import asdict, is_dataclass
from typing import Any

import click

from grao_pipeline.cli.terminal import echo
from grao_pipeline.redaction import without_credentials

FINGERPRINT = re.compile("[0-9a-f]{24,}")
WIDTH = 80
"""Columns where there is no terminal."""
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
    "tokens_extended",
    "without_samples",
    "prompts_left",
    "unscored",
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
    "was_complete",
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


def _without_credentials(value: object) -> object:
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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(readable, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _readable_rows(rows: list[dict[str, object]]) -> str:
    """Dictionaries of the same keys as a table; fingerprints are cut. A table too wide has a line per key instead."""
    lines = [[key.replace("_", " ") for key in rows[0]]]
    lines += [[_cell(item) for item in row.values()] for row in rows]
    upright = _aligned(lines, [any(isinstance(row[key], str) for row in rows) for key in rows[0]])
    turned = _aligned([list(line) for line in zip(*lines, strict=True)], [True] + [False] * len(rows))
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    is_narrower = max(map(len, turned)) <= columns < max(map(len, upright))
    return "\n".join(turned if is_narrower else upright)


def _cell(item: object) -> str:
    text = "–" if item is None else readable(item)
    return f"{text[:8]}…" if FINGERPRINT.fullmatch(text) else text


def _aligned(lines: list[list[str]], are_left: list[bool]) -> list[str]:
    """The lines of a table: texts to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    align = [str.ljust if is_left else str.rjust for is_left in are_left]
    padded = [[pad(cell, width) for pad, cell, width in zip(align, line, widths, strict=True)] for line in lines]
    return ["    " + "  ".join(line).rstrip() for line in padded]
