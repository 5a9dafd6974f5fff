"""What all options models share: fields, the fingerprinted content, flags, and errors in words.

Every default and every help text is written once, in the options model of its stage (`generation/options.py` …). The
commands make their options from these models and the rounds' YAML is validated by them. A field made with `option`
shapes the content of the stage's output and is part of its fingerprint; one made with `runtime` (devices, batch sizes,
places) does not and is not.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grao_pipeline.errors import UsageError

Options = TypeVar("Options", bound="StageOptions")


Device = Literal["auto", "cpu", "cuda"]


Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def option(default: Any, help: str, **constraints: Any) -> Any:
    """A field that shapes what the stage writes. `...` as default makes it required."""
    return Field(default, description=help, json_schema_extra={"content": True}, **constraints)


def runtime(default: Any, help: str, **constraints: Any) -> Any:
    """A field that changes how the work is done, but not what is written."""
    return Field(default, description=help, json_schema_extra={"content": False}, **constraints)


class StageOptions(BaseModel):
    """Base of the options models."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    def content(self) -> dict[str, Any]:
        """The options that shape the output, for its fingerprint. Values are JSON."""
        shaping = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["content"]
        }
        return self.model_dump(mode="json", include=shaping)

    def arguments(self) -> list[str]:
        """The command-line arguments that give these options; those left at their defaults are left out."""
        arguments: list[str] = []
        for name in sorted(self.model_fields_set):
            flag = option_flag(name, type(self).model_fields[name].alias)
            value = getattr(self, name)
            if isinstance(value, bool):
                arguments.append(flag if value else f"--no-{flag[2:]}")
            elif isinstance(value, list):
                arguments += [part for element in value for part in (flag, str(element))]
            elif value is not None:
                arguments += [flag, str(value)]
        return arguments


def option_flag(name: str, alias: str | None) -> str:
    """The command-line flag of a field, e.g. `--max-new-tokens`."""
    return f"--{(alias or name).replace('_', '-')}"


def parse_options(model: type[Options], values: Mapping[str, Any], where: str = "") -> Options:
    """Build an options model from untrusted values.

    Args:
        where: what holds the values, e.g. `rounds.yaml: train`; empty for the command line.

    Raises:
        UsageError: names every wrong option with its value and what is allowed.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(option_problem(detail, where) for detail in error.errors())
        raise UsageError(f"{where}: {problems}" if where else problems) from None


def option_problem(detail: Any, where: str) -> str:
    """One of pydantic's errors in words.

    Args:
        where: what holds the values; empty for the command line, whose options begin with --.
    """
    name = ".".join(str(part) for part in detail["loc"])
    label = name if where or not name else "--" + name.replace("_", "-").rstrip("-")
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"{label} is required"
    if detail["type"] == "extra_forbidden":
        return f"{label} is not an option of this stage"
    if not label:
        return str(message)
    return f"{label} = {detail['input']!r}: {message[0].lower()}{message[1:]}"
