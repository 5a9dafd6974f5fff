"""Options that change over the rounds: a list with one value per round, a schedule from one number to another, or one
that follows a measurement."""

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import Field

from grao_pipeline import schedules
from grao_pipeline.options import StageOptions
from grao_pipeline.parsing import finite_number, shown
from grao_pipeline.rounds.config.sections import parse_section
from grao_pipeline.rounds.config.yaml_lines import Node

SCHEDULE, TOWARDS = "schedule", "towards"
SHAPES = ("constant", *schedules.SHAPES)
WEIGHT = "weight"
"""A key of `score` that is not an option of `grao score`."""
EXPECTED = (
    "expected {schedule: linear, from: NUMBER, to: NUMBER}; or cosine, or dip, or constant with from alone, or towards "
    "with a metric"
)
Fields = Mapping[str, frozenset[object]]
"""The types that each option may have, e.g. {float, NoneType}; list for lists of anything."""


class Towards(StageOptions):
    """A number that moves towards where a metric reaches its target.

    Example: `Towards.model_validate({"metric": "entropy", "target": 1, "gain": 0.5, "from": 0.5}).value([0.8])` → 0.6
    """

    metric: str = Field(
        description="What is measured in every round: a metric of its evaluation, or the mean of one of metrics.jsonl."
    )
    target: float = Field(description="The value at which the number stays as it is.")
    gain: float = Field(description="The number changes by gain × (target − measured) after every round.")
    start: float = Field(alias="from", description="The number before anything is measured.")
    low: float | None = Field(None, description="The smallest number.")
    high: float | None = Field(None, description="The largest number.")

    def value(self, measured: list[float]) -> float:
        """The number after these measurements, oldest first."""
        number = self.start
        for value in measured:
            number += self.gain * (self.target - value)
            number = number if self.low is None else max(number, self.low)
            number = number if self.high is None else min(number, self.high)
        return number


@dataclass(frozen=True)
class Measured:
    """An option that follows a measurement.

    Attributes:
        key: of an option of key=value pairs, the key; empty for all others.
    """

    option: str
    key: str
    course: Towards
    is_whole: bool

    def number(self, value: float) -> float | int:
        """A value as the option takes it."""
        return round(value) if self.is_whole else value


def value_at(shape: str, start: float, end: float, number: int, rounds: int) -> float:
    """The value in round `number` of `rounds`: that of the shape at t = number / (rounds − 1) (`schedules.py`)."""
    share = number / (rounds - 1) if rounds > 1 else 0.0
    if shape == "constant" or start == end:
        return start
    return schedules.SHAPES[shape](share, start, end)


def fields_of(model: type[StageOptions], is_weighted: bool = False) -> Fields:
    """The options of a section, by the names that people write."""
    fields = {field.alias or key: frozenset(_kinds(field.annotation)) for key, field in model.model_fields.items()}
    return fields | ({WEIGHT: frozenset({float})} if is_weighted else {})


def section_in_round(section: Node, fields: Fields, name: str, number: int, rounds: int) -> Node:
    """The section with every list and every schedule replaced by its value in a round; what follows a measurement has
    the value that it begins with.

    Raises:
        UsageError: a schedule is not usable; the message has its line.
    """
    section = _replaced(
        section, {course: course.in_round(number, rounds) for course in _courses(section, fields, name)}
    )
    lists: dict[Any, Node] = {}
    for key, node in section.value.items():
        if key not in fields or list in fields[key] or not isinstance(node.value, list):
            continue
        if len(node.value) != rounds:
            raise node.error(
                f"{name}.{key}: a list has one value per round; found {len(node.value)} values for {rounds} rounds."
            )
        lists[key] = node.value[number]
    return section.updated(lists)


def measured_in(section: Node, fields: Fields, name: str) -> list[Measured]:
    """The options of a section that follow a measurement."""
    courses = [course for course in _courses(section, fields, name) if course.shape == TOWARDS]
    return [Measured(one.option, one.key, one.towards(), float not in one.kinds) for one in courses]


def at_bound(section: Node, fields: Fields, name: str, bound: Literal["low", "high"]) -> Node:
    """The section with what follows a measurement at its smallest, or largest, number, to check it."""
    courses = [course for course in _courses(section, fields, name) if course.shape == TOWARDS]
    limits = {course: getattr(course.towards(), bound) for course in courses}
    return _replaced(section, {course: limit for course, limit in limits.items() if limit is not None})


@dataclass(frozen=True, eq=False)
class _Course:
    """A schedule where it is written; `key` as in `Measured`."""

    option: str
    key: str
    node: Node
    kinds: frozenset[object]
    name: str

    @property
    def shape(self) -> object:
        return self.node.plain().get(SCHEDULE)

    def towards(self) -> Towards:
        return parse_section(Towards, self.node.without(SCHEDULE), self.name)

    def in_round(self, number: int, rounds: int) -> float:
        """Its number in a round; that at the beginning where it follows a measurement."""
        if not self.kinds & {int, float}:
            message = "only a number has a schedule; this option takes a list with one value per round."
            raise self.node.error(f"{self.name}: {message}")
        if self.shape == TOWARDS:
            return self.towards().start
        values = self.node.plain()
        start, end = (finite_number(values.get(key)) for key in ("from", "from" if self.shape == "constant" else "to"))
        is_known = self.shape in SHAPES and not set(values) - {SCHEDULE, "from", "to"}
        if not is_known or (self.shape != "constant") != ("to" in values) or start is None or end is None:
            raise self.node.error(f"{self.name}: {EXPECTED}, found {shown(values)}.")
        return value_at(str(self.shape), start, end, number, rounds)


def _courses(section: Node, fields: Fields, name: str) -> list[_Course]:
    """The schedules of a section: those of options, and those of `{key: value}` arguments."""
    courses = []
    for option, node in section.entries(f"{name}: expected options").items():
        kinds = fields.get(option, frozenset())
        if not isinstance(node.value, dict) or not kinds:
            continue  # an unknown option is named when the section is parsed
        if list not in kinds:
            courses.append(_Course(option, "", node, kinds, f"{name}.{option}"))
            continue
        for key, one in node.value.items():
            if isinstance(one.value, dict) and SCHEDULE in one.value:
                courses.append(_Course(option, key, one, frozenset({float}), f"{name}.{option}: {key}"))
    return courses


def _replaced(section: Node, numbers: Mapping[_Course, float]) -> Node:
    """The section with numbers in the place of these schedules."""
    changes: dict[Any, Node] = {}
    for course, number in numbers.items():
        value = Node(number if float in course.kinds else round(number), course.node.where)
        whole = changes.get(course.option, section.value[course.option])
        changes[course.option] = whole.updated({course.key: value}) if course.key else value
    return section.updated(changes)


def _kinds(annotation: object) -> set[object]:
    """The types that an option may have, e.g. {float, NoneType}; list for lists of anything."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return set().union(*(_kinds(part) for part in get_args(annotation)))
    return {origin or annotation}
