"""What all options models share: kinds of fields, the content of a fingerprint, and error messages.

Every default and every help text is written once, in the options model of its stage (`generation/options.py` …). The
commands and the YAML of the rounds are made from these models.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.other_names import NAMES_OF_MODELS, OTHER_NAMES
from grao_pipeline.parsing import check_text, shown

Options = TypeVar("Options", bound="StageOptions")
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def _read_processes(value: object) -> object:
    """Raises ValueError where it is not a number of processes."""
    text = str(value)
    if text == "auto":
        return text
    if isinstance(value, bool | float) or not text.isdecimal() or int(text) < 1:
        raise ValueError("expected auto, or a whole number of at least 1")
    return int(text)


Processes = Annotated[Literal["auto"] | int, BeforeValidator(_read_processes)]
"""How many processes share the work of a stage on this machine."""


def _pairs(given: object) -> object:
    """A mapping, as YAML has it, as the `key=value` of a command line."""
    if not isinstance(given, Mapping):
        return given
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given.items()]


KeyValues = Annotated[
    list[str],
    BeforeValidator(_pairs),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "object"}]}),
]
"""The type of `--reward-arg` and its like: `key=value` each; in YAML also a mapping."""


def option(default: object, help: str, *, plugin: str = "", **constraints: Any) -> Any:
    """A field that shapes what the stage writes: it is part of the fingerprint. `...` makes it required.

    Args:
        plugin: kind of the plug-in that the field names, e.g. `reward`; its arguments are in `reward_arg`.
    """
    extra: JsonDict = {"content": True, "plugin": plugin}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


def runtime(default: object, help: str, *, plugin: str = "", **constraints: Any) -> Any:
    """A field that changes how the work is done (devices, batch sizes, places), but not what is written."""
    extra: JsonDict = {"content": False, "plugin": plugin}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


def tables(default: object, help: str, *, metavar: str, **constraints: Any) -> Any:
    """A field that names further input tables: their fingerprints are inputs of the stage, their places not content.

    Args:
        metavar: what one value is made of, e.g. `GROUPS SCORES`.
    """
    extra: JsonDict = {"content": False, "metavar": metavar}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


class StageOptions(BaseModel):
    """Base of the options models."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)
    help_sections: ClassVar[Mapping[str, str]] = {}
    """Field → title of the section of `--help` that begins with it; fields before the first one are `Options`."""
    first_options: ClassVar[tuple[str, ...]] = ()
    """The few that most people give: `--help` lists them before all others, under `Options`."""

    @field_validator("*", mode="before")
    @classmethod
    def _holds_text_and_numbers(cls, value: object, info: ValidationInfo) -> object:
        _check_value(value)
        if isinstance(value, bool):
            kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
            if bool not in kinds and not kinds.isdisjoint({int, float}):
                raise ValueError("expected a number")  # pydantic would take `yes` for 1
        return value

    def content(self) -> dict[str, JsonValue]:
        """The options that shape the output, for its fingerprint. Values are JSON."""
        shaping = {name for name, info in type(self).model_fields.items() if extra_of(info).get("content")}
        return self.model_dump(mode="json", include=shaping)

    def given(self) -> dict[str, JsonValue]:
        """The options that were given, by the names that people write (`lambda`). Values are JSON."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def resolved(self) -> dict[str, JsonValue]:
        """All options, defaults included, by the names that people write. Values are JSON."""
        return self.model_dump(mode="json", by_alias=True)


def _kinds(annotation: object) -> set[object]:
    """The types that a field's annotation is made of."""
    return {annotation}.union(*map(_kinds, get_args(annotation)))


def extra_of(info: FieldInfo) -> JsonDict:
    """What `option`, `runtime` or `tables` noted about a field."""
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def option_names(model: type[StageOptions]) -> list[str]:
    """The names of a stage's options as people write them, e.g. `lambda`."""
    return [info.alias or name for name, info in model.model_fields.items()]


def option_flag(name: str) -> str:
    """The command-line flag of an option, e.g. `--max-new-tokens`, `--lambda`."""
    return f"--{name.rstrip('_').replace('_', '-')}"


class OptionSource(Protocol):
    """Where options were written; renders messages about them as their reader writes options."""

    def render(self, message: str, option: str = "") -> str:
        """A message about an option, or about none."""
        ...


@dataclass(frozen=True)
class CommandLine:
    """Options given as flags.

    Example: `CommandLine().render("expected key=value.", "reward_arg")` → `--reward-arg: expected key=value.`
    """

    def render(self, message: str, option: str = "") -> str:
        return f"{option_flag(option)}: {message}" if option else message


@dataclass(frozen=True)
class YamlSection:
    """Options given in a section of a YAML file.

    Example: `YamlSection("score", "rounds.yaml:8", {"reward_arg": "rounds.yaml:9"}).render("…", "reward_arg")` →
    `rounds.yaml:9: score.reward_arg: …`
    """

    section: str
    """Its name; empty for the keys of the file itself."""
    where: str
    """FILE:LINE of the section."""
    lines: Mapping[str, str] = field(default_factory=dict)
    """FILE:LINE of each of its options."""

    def render(self, message: str, option: str = "") -> str:
        option = option if option in self.lines else option.rstrip("_")
        where = self.lines.get(option, self.where)
        name = ".".join(part for part in (self.section, option) if part)
        head = ": ".join(part for part in (where, name) if part)
        return f"{head}: {as_written_in_yaml(message)}" if head else as_written_in_yaml(message)


@contextmanager
def input_errors_at(source: OptionSource, option: str) -> Iterator[None]:
    """Errors of the input that an option names say where it is written."""
    try:
        yield
    except InputError as error:
        raise type(error)(source.render(str(error), option)) from error


def as_written_in_yaml(message: str) -> str:
    """A message with `--lora-rank` as `lora_rank`."""
    return re.sub(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)", lambda match: match[1].replace("-", "_"), message)


def parse_options(model: type[Options], values: Mapping[str, object], source: OptionSource | None = None) -> Options:
    """Build an options model from untrusted values.

    Args:
        source: where the values were written; the command line by default.

    Raises:
        UsageError: names every wrong option with its value and what is allowed.
    """
    source = source or CommandLine()
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(problems(error, source, option_names(model))) from None


def problems(error: ValidationError, source: OptionSource, known: Iterable[str] = ()) -> str:
    """What pydantic found wrong, a line each, as the reader of `source` writes options.

    Args:
        known: the names of the options, for advice on one that is not among them.
    """
    return "\n".join(source.render(*_problem(detail, known)) for detail in error.errors())


def _check_value(value: object) -> None:
    """Check all texts and whole numbers in a value of an option.

    Raises:
        ValueError: a text that no path or file can hold, or a whole number beyond 64 bits.
    """
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ValueError("a whole number has at most 64 bits")
    elif isinstance(value, Mapping):
        for item in (*value, *value.values()):
            _check_value(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_value(item)


def _problem(detail: ErrorDetails, known: Iterable[str]) -> tuple[str, str]:
    """(message, option) of one of pydantic's errors."""
    location = [str(step) for step in detail["loc"]]
    name = location[0] if location else ""
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return "this option is required.", name
    if detail["type"] == "extra_forbidden":
        return f"there is no such option of this stage.{closest(name, known)}", name
    if not name:
        return f"{message}.", ""
    return f"{message[0].lower()}{message[1:]}, found {shown(detail['input'])}.", name


ALIKE = 0.65
"""Least similarity of a name that is suggested: `deep` and `depth` have 0.67, `rows` and `verbose` 0.55."""


def closest(name: object, known: Iterable[str]) -> str:
    """` Did you mean learning_rate?`: the known name that another program calls so, that has these initials (`lr`), or
    that is similar; or nothing. For a revision, how it is given.
    """
    import difflib

    words = {candidate: re.split(r"[-_ ]", candidate.lstrip("-")) for candidate in known}
    joined = {"_".join(parts): candidate for candidate, parts in words.items()}
    bare = str(name).lstrip("-")
    if bare == "revision" and not joined.keys().isdisjoint(NAMES_OF_MODELS):
        return " Write MODEL@REVISION."
    similar = [joined[meant] for meant in OTHER_NAMES.get(bare.replace("-", "_"), ()) if meant in joined]
    similar += [candidate for candidate, parts in words.items() if "".join(part[:1] for part in parts) == bare]
    without_dashes = {candidate.lstrip("-"): candidate for candidate in words}
    alike = difflib.get_close_matches(bare, list(without_dashes), cutoff=ALIKE)
    alike.sort(key=lambda candidate: sorted(candidate) != sorted(bare))  # first letters that only changed their places
    similar += [without_dashes[candidate] for candidate in alike]
    return f" Did you mean {similar[0]}?" if similar else ""
