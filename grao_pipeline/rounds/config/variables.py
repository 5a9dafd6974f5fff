"""Variables in the rounds' YAML: `${round}`, `${policy}`, `${name}` from `variables:`, `${env:NAME}`,
`${env:NAME:default}`.

A value that is one variable and nothing else takes its type; within text it becomes text. `$${` stands for `${`.
"""

import os
import re
from collections.abc import Callable, Mapping

from grao_pipeline.pipeline import stages
from grao_pipeline.rounds.config.yaml_lines import Node

PATTERN = re.compile(r"\$\$\{|\$\{([^}]*)\}")
ROUND, POLICY = "${round}", "${policy}"
LONGEST_TEXT = 1_000_000


def read_variables(section: Node) -> dict[str, object]:
    """The values of `variables:`; one may use the environment and those above it.

    Raises:
        UsageError: a name or a value is not usable.
    """
    values: dict[str, object] = {}
    for name, node in section.entries("variables: expected names with their values").items():
        if not re.fullmatch(r"\w+", str(name)) or name in ("round", "policy"):
            raise node.error(f"variables: {name!r} cannot be a variable's name.")
        if isinstance(node.value, dict | list):
            raise node.error(f"variables: {name}: expected text, a number, true or false.")
        values[str(name)] = substitute(node, values).value
    return values


def substitute(node: Node, variables: Mapping[str, object]) -> Node:
    """The tree with values in the place of all variables but `${round}` and `${policy}`, which `in_round` replaces.

    Raises:
        UsageError: a variable is unknown; the message has its line.
    """

    def value(match: re.Match[str], at: Node) -> object:
        if match[0] in (ROUND, POLICY, "$${"):
            return match[0]
        return _environment(match[1], at) if match[1].startswith("env:") else _known(match[1], at, variables)

    return _replaced(node, value)


def in_round(node: Node, number: int | None, policy: str | None = None) -> Node:
    """The tree with the round's number in the place of `${round}`, and `policy` in that of `${policy}`.

    Args:
        number, policy: None where there is no round, or no policy.

    Raises:
        UsageError: `${round}` stands outside of a round, or `${policy}` where no groups were sampled yet.
    """

    def value(match: re.Match[str], at: Node) -> object:
        if match[0] == "$${":
            return "${"
        replacement = policy if match[0] == POLICY else number
        if replacement is None:
            knows = [stage for stage in stages() if stage.loop is not None and stage.knows_round]
            names = ", ".join(stage.name for stage in knows if match[0] == ROUND or stage.repeated)
            raise at.error(f"{match[0]} is known only in {names}.")
        return replacement

    return _replaced(node, value)


def _replaced(node: Node, value: Callable[[re.Match[str], Node], object]) -> Node:
    if isinstance(node.value, dict):
        return Node({key: _replaced(entry, value) for key, entry in node.value.items()}, node.where)
    if isinstance(node.value, list):
        return Node([_replaced(entry, value) for entry in node.value], node.where)
    if not isinstance(node.value, str):
        return node
    whole = PATTERN.fullmatch(node.value)
    return Node(value(whole, node) if whole else _filled(node, value), node.where)


def _filled(node: Node, value: Callable[[re.Match[str], Node], object]) -> str:
    """A text with its variables replaced. Variables of variables double it with every line: the length is bounded."""
    length = len(node.value)

    def text(match: re.Match[str]) -> str:
        nonlocal length
        replacement = str(value(match, node))
        length += len(replacement)
        if length > LONGEST_TEXT:
            raise node.error(f"variables make this text longer than {LONGEST_TEXT} characters.")
        return replacement

    return PATTERN.sub(text, node.value)


def _environment(text: str, at: Node) -> str:
    _, name, *default = text.split(":", 2)
    if name in os.environ:
        return os.environ[name].replace("${", "$${")
    if not default:
        raise at.error(f"the environment variable {name} is not set. Set it, or give a default: ${{env:{name}:value}}.")
    return default[0]


def _known(name: str, at: Node, variables: Mapping[str, object]) -> object:
    if name not in variables:
        known = ", ".join(["round", "policy", *variables])
        raise at.error(
            f"unknown variable ${{{name}}}. There are: {known}; define others in 'variables:', take them from the "
            "environment with ${env:NAME}, or write $${ for the text ${."
        )
    return variables[name]
