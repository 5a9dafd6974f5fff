"""A section of the YAML → the options of its stage, with errors that name the line."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from grao_pipeline.errors import UsageError
from grao_pipeline.options import Options, StageOptions, option_problem
from grao_pipeline.rounds.config.yaml_lines import Node


def option_names(model: type[StageOptions]) -> list[str]:
    """The names of a stage's options in the YAML, e.g. `lambda`."""
    return [field.alias or name for name, field in model.model_fields.items()]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean learning_rate?`, or nothing where nothing is like it."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def refuse_unknown(section: Node, known: Iterable[str], name: str = "") -> None:
    """Check the keys of a section.

    Args:
        name: of the section; empty for the whole file.

    Raises:
        UsageError: names every key that is not known, with its line.
    """
    known = list(known)
    entries = section.entries(f"{name}: expected options" if name else "expected keys such as output, model, prompts")
    what = "an option of this stage" if name else "an option of the rounds"
    prefix = f"{name}: " if name else ""
    unknown = [
        f"{node.where}: {prefix}{key} is not {what}{did_you_mean(key, known)}"
        for key, node in entries.items()
        if key not in known
    ]
    if unknown:
        raise UsageError("\n".join(unknown))


def parse_section(model: type[Options], section: Node, name: str, /, **given: Any) -> Options:
    """The options that a section gives.

    Args:
        name: of the section, e.g. `train`; empty for the whole file.
        given: further options, by the loop.

    Raises:
        UsageError: names every wrong option with its line, its value and what is allowed.
    """
    refuse_unknown(section, option_names(model), name)
    try:
        return model.model_validate({**(section.plain() or {}), **given})
    except ValidationError as error:
        prefix = f"{name}: " if name else ""
        raise UsageError(
            "\n".join(
                f"{section.find(detail['loc']).where}: {prefix}{option_problem(detail, 'YAML')}"
                for detail in error.errors()
            )
        ) from None
