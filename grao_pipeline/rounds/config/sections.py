"""A section of the YAML → the options of its stage, with errors that name the line."""

from collections.abc import Iterable

from pydantic import ValidationError

from grao_pipeline.errors import UsageError
from grao_pipeline.options import Options, YamlSection, closest, option_names, problems
from grao_pipeline.rounds.config.yaml_lines import Node


def source_of(section: Node, name: str) -> YamlSection:
    """Where the options of a section are written."""
    entries = section.value if isinstance(section.value, dict) else {}
    return YamlSection(name, section.where, {str(key): node.where for key, node in entries.items()})


def refuse_unknown(section: Node, known: Iterable[str], name: str = "") -> None:
    """Check the keys of a section.

    Args:
        name: of the section; empty for the whole file.

    Raises:
        UsageError: names every unknown key with its line.
    """
    known = list(known)
    entries = section.entries(f"{name}: expected options" if name else "expected keys such as output, model, prompts")
    what = "there is no such option of this stage" if name else "there is no such key of a rounds file"
    source = source_of(section, name)
    unknown = [source.render(f"{what}.{closest(key, known)}", str(key)) for key in entries if key not in known]
    if unknown:
        raise UsageError("\n".join(unknown))


def parse_section(model: type[Options], section: Node, name: str, /, **given: object) -> Options:
    """The options that a section gives.

    Args:
        name: of the section, e.g. `train`; empty for the whole file.
        given: further options, by the loop.

    Raises:
        UsageError: names every wrong option with its line, its value and what is allowed.
    """
    refuse_unknown(section, option_names(model), name)
    for key, node in section.entries(name).items():
        if isinstance(node.value, dict) and "schedule" in node.value:
            message = "it has no schedule: its value is the same in every round."
            raise UsageError(source_of(section, name).render(message, str(key)))
    try:
        return model.model_validate({**(section.plain() or {}), **given})
    except ValidationError as error:
        raise UsageError(problems(error, source_of(section, name))) from None
