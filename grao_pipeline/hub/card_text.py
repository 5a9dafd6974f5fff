"""Pieces of a card: front matter, tables and values in Markdown."""

import json
from collections.abc import Iterable, Mapping, Sequence

import yaml

LONGEST_VALUE = 120


def front_matter(values: Mapping[str, object]) -> str:
    """The YAML head of a card, without what is not known."""
    known = {name: value for name, value in values.items() if value not in (None, [], {}, "")}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True)}---\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; what Markdown or HTML would read in a cell is written out."""
    lines = [columns, ["---"] * len(columns), *([cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cell(value: object) -> str:
    """A value as the text of a cell."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} …"
    for plain, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("\n", " ")):
        text = text.replace(plain, written)
    return text


def settings(options: Mapping[str, object]) -> str:
    """Options as `name value`, without those that say nothing."""
    said = {name.rstrip("_"): value for name, value in options.items() if value not in (None, [], {}, "", False)}
    return ", ".join(f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in said.items())
