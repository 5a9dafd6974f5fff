"""Options that change over the rounds: a list with one value per round, or a schedule from one number to another."""

import types
from typing import Any, Union, get_args, get_origin

from grao_pipeline import schedules
from grao_pipeline.options import StageOptions
from grao_pipeline.parsing import finite_number, shown
from grao_pipeline.rounds.config.yaml_lines import Node

SHAPES = ("constant", *schedules.SHAPES)


def value_at(shape: str, start: float, end: float, number: int, rounds: int) -> float:
    """The value in round `number` of `rounds`: that of the shape at t = number / (rounds − 1) (`schedules.py`)."""
    share = number / (rounds - 1) if rounds > 1 else 0.0
    if shape == "constant" or start == end:
        return start
    return schedules.SHAPES[shape](share, start, end)


def section_in_round(section: Node, model: type[StageOptions], name: str, number: int, rounds: int) -> Node:
    """The section with every schedule replaced by its value in a round.

    Raises:
        UsageError: a schedule is not usable; the message has its line.
    """
    fields = {field.alias or key: field for key, field in model.model_fields.items()}
    changes: dict[Any, Node] = {}
    for key, node in section.entries(f"{name}: expected options").items():
        if key not in fields:  # said when the section is parsed
            continue
        kinds = _kinds(fields[key].annotation)
        if isinstance(node.value, dict) and list not in kinds:  # that of a list is key: value for key=value
            changes[key] = Node(_scheduled(node, kinds, f"{name}.{key}", number, rounds), node.where)
        elif isinstance(node.value, list) and list not in kinds:
            if len(node.value) != rounds:
                raise node.error(
                    f"{name}.{key}: a list has one value per round; found {len(node.value)} values for {rounds} rounds."
                )
            changes[key] = node.value[number]
    return section.updated(changes)


def _scheduled(node: Node, kinds: set[object], name: str, number: int, rounds: int) -> float | int:
    if not kinds & {int, float}:
        raise node.error(f"{name}: only a number has a schedule; this option takes a list with one value per round.")
    values = node.plain()
    shape, known = values.get("schedule"), {"schedule", "from", "to"}
    expected = "expected {schedule: linear, from: NUMBER, to: NUMBER}; or cosine, or constant with from alone"
    if shape not in SHAPES or set(values) - known or (shape != "constant") != ("to" in values):
        raise node.error(f"{name}: {expected}, found {shown(values)}.")
    start, end = (finite_number(values.get(key)) for key in ("from", "from" if shape == "constant" else "to"))
    if start is None or end is None:
        raise node.error(f"{name}: {expected}, found {shown(values)}.")
    value = value_at(shape, start, end, number, rounds)
    return value if float in kinds else round(value)


def _kinds(annotation: object) -> set[object]:
    """The types that an option may have, e.g. {float, NoneType}; list for lists of anything."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return set().union(*(_kinds(part) for part in get_args(annotation)))
    return {origin or annotation}
