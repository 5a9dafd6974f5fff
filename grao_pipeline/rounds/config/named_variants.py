"""`variants:` lists methods by name; a variant is the file with some options of some sections replaced."""

import re

from grao_pipeline.options import closest
from grao_pipeline.parsing import shown
from grao_pipeline.pipeline import stages
from grao_pipeline.rounds.config.yaml_lines import Node

NAME = re.compile(r"\w[\w+=,.-]{0,79}")
"""A directory's name."""
PRESET = "preset"


def named_variants(root: Node) -> list[tuple[str, Node]]:
    """The configurations that `variants:` stands for, in order.

    Raises:
        UsageError: a name is not that of a directory, or a section is not one that variants may change.
    """
    section = root.value["variants"]
    if "sweep" in root.value:
        raise section.error("variants: there is a sweep, too. Keep one of them.")
    entries = section.entries("variants: expected names with what differs, e.g. sft: {train: {objective: sft}}")
    if not entries:
        raise section.error("variants: it is empty; name methods, e.g. sft: {train: {objective: sft}}.")
    return [(_name(name, node), _changed(root, str(name), node)) for name, node in entries.items()]


def _name(name: object, node: Node) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise node.error(f"variants: {shown(name)} cannot be the name of a directory. Use letters, digits, - and _.")
    return name


def _changed(root: Node, name: str, node: Node) -> Node:
    allowed = [PRESET, *(stage.name for stage in stages() if stage.loop is not None and stage.per_round)]
    changes: dict[str, Node] = {}
    for key, value in node.entries(f"variants: {name}: expected sections").items():
        if key not in allowed:
            hint = closest(str(key), allowed) or f" Those are {', '.join(allowed)}."
            raise value.error(f"variants: {name}: {key} is not a section that variants may change.{hint}")
        if key == PRESET:
            changes[key] = value
            continue
        options = value.entries(f"variants: {name}: {key}: expected options")
        changes[key] = root.value.get(key, Node({}, value.where)).updated(options)
    return root.updated(changes)
