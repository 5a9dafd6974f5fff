"""The inputs that a provenance names: further outputs of the pipeline, and what came from outside."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FINGERPRINT = re.compile(r"[0-9a-f]{32}")
OUTPUTS = (
    *("prompts", "groups", "scores", "advantages", "model"),
    *("base_groups", "base_scores", "extend", "from", "pool", "history", "replay"),
)
"""Keys of inputs that are tables or models. The others (rows of a source, a tokenizer, a batch) came from outside."""


@dataclass(frozen=True)
class NamedInput:
    """An input of an output.

    Example: `NamedInput("scores", "3f…")`
    """

    role: str
    fingerprint: str


def inputs_of(inputs: Mapping[str, object]) -> list[NamedInput]:
    """The tables and models among the inputs of a provenance, each once, in order."""
    named = {NamedInput(role, fingerprint): None for role in OUTPUTS for fingerprint in _fingerprints(inputs.get(role))}
    return list(named)


def _fingerprints(value: object) -> Iterator[str]:
    """All fingerprints in a nested list, e.g. `[["gsm8k", "3f…", 1.0]]`."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _fingerprints(item)
    elif isinstance(value, str) and FINGERPRINT.fullmatch(value):
        yield value
