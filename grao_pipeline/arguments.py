"""Typed arguments of plug-ins: a reward, an estimator, an objective, an engine declares a small pydantic model.

Whoever names the plug-in gives its arguments as `key=value`. The model holds their types, defaults and help texts once:
they are checked, converted and shown (`grao plugins show NAME`) from it.
"""

import inspect
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypedDict, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from grao_pipeline.errors import UsageError
from grao_pipeline.json_text import InvalidJson, parse_json
from grao_pipeline.options import closest

Arguments = TypeVar("Arguments", bound="PluginArguments")
LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _json_list(value: object) -> object:
    return _json_or_text(value) if isinstance(value, str) else value


Item = TypeVar("Item")
JsonList = Annotated[list[Item], BeforeValidator(_json_list)]
"""A list that is written as JSON, e.g. `[1, 2]`."""


class PluginArguments(BaseModel):
    """Base of the argument models.

    Example:
        class LengthArguments(PluginArguments):
            target: PositiveInt = argument(..., "Wanted length.")
            unit: Literal["words", "characters"] = argument("words", "What is counted.")
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)
    instead: ClassVar[Mapping[str, type[BaseModel]]] = {}
    """Arguments that exist in place of some of these where one of them is given: its name → their model."""


class NoArguments(PluginArguments):
    """Of a plug-in that takes none."""


class FreeArguments(PluginArguments):
    """Base of the argument models that pass on keys that they do not declare, e.g. to `vllm.LLM`. The text of such a
    key is read as JSON where it is JSON.
    """

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _read_undeclared(cls, given: dict[str, object]) -> dict[str, object]:
        return {name: value if name in cls.model_fields else _json_or_text(value) for name, value in given.items()}

    def given(self) -> dict[str, object]:
        """The arguments that were given, converted; without those that were left at their defaults."""
        return self.model_dump(exclude_unset=True)


def argument(default: object, help: str, **constraints: Any) -> Any:
    """A field of an argument model. `...` as default makes it required; then it has `examples=[VALUE]`, too, for the
    commands that help texts show."""
    return Field(default, description=help, **constraints)


def parse_arguments(model: type[Arguments], given: Mapping[str, object], plugin: str, option: str) -> Arguments:
    """The arguments that were given, converted and checked.

    Args:
        given: key → text, or a value of the right type already. `prefix.key` belongs to the field `prefix` of type
            dict, with its text read as JSON where it is JSON.
        plugin: what they are of, e.g. `reward 'length'`.
        option: the option that they were given by, e.g. `reward_arg`.

    Raises:
        UsageError: names the first argument that is unknown, missing or wrong, and the known ones.
    """
    try:
        return model.model_validate(_nested(model, given, plugin, option))
    except ValidationError as error:
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")  # a name mistyped
        raise UsageError(_problem(model, details[0], plugin), option=option) from None


def function_arguments(function: Callable[..., object], supplied: Collection[str] = ()) -> type[PluginArguments]:
    """The argument model of a plain function: its parameters that can be given by name.

    A parameter has the type of its annotation, or else of its default, where a number is a float. Without a default it
    is required. Parameters whose name begins with an underscore are not arguments.

    Args:
        supplied: the parameters that the caller supplies, e.g. `("view", "statistics")`.
    """
    fields: dict[str, Any] = {
        name: (_parameter_type(parameter), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in _signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name not in supplied
        and not name.startswith("_")
    }
    return create_model("FunctionArguments", __base__=_FunctionArguments, **fields)


def arguments_of(plugin: object, supplied: Collection[str] = ()) -> type[PluginArguments]:
    """The argument model that a plug-in declares, or that of a plain function's parameters.

    Args:
        supplied: see `function_arguments`.
    """
    if inspect.isfunction(plugin):
        return function_arguments(plugin, supplied)
    if hasattr(plugin, "arguments_model"):  # further arguments depend on those given: here on none
        model: type[PluginArguments] = plugin.arguments_model({})
        return model
    declared: type[PluginArguments] = getattr(plugin, "Arguments", NoArguments)
    return declared


class DescribedArgument(TypedDict):
    """An argument of a plug-in, for people."""

    name: str
    type: str
    default: object
    """None where it is required."""
    required: bool
    help: str
    example: str
    """A value for an example of a command; `VALUE` where none is known."""


def described_arguments(model: type[BaseModel]) -> list[DescribedArgument]:
    """Name, type, default (None where required) and help of every argument, for people.

    Example: `[{"name": "target", "type": "int > 0", "default": None, "required": True, "help": "Wanted length.",
    "example": "200"}]`
    """
    described = [_described(name, field) for name, field in model.model_fields.items()]
    instead = model.instead if issubclass(model, PluginArguments) else {}
    for key, alternative in instead.items():
        described = [{**argument, "required": False} for argument in described]
        for name, field in alternative.model_fields.items():
            help = f"With {key}=…: {field.description}" if name != key else field.description or ""
            described.append({**_described(name, field), "required": False, "help": help})
    return described


def _described(name: str, field: FieldInfo) -> DescribedArgument:
    return {
        "name": field.alias or name,
        "type": _type_text(field),
        "default": None if field.is_required() else field.get_default(call_default_factory=True),
        "required": field.is_required(),
        "help": field.description or "",
        "example": _example(field),
    }


def _example(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return str(next(iter([*(field.examples or ()), *choices]), "VALUE"))


class _FunctionArguments(PluginArguments):
    """A function's annotations may be any classes, whose instances cannot be written as text."""

    model_config = ConfigDict(arbitrary_types_allowed=True)


def _signature(function: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:  # an annotation names what is imported for type checkers alone
        return inspect.signature(function)
    except ValueError:  # a function that is written in C need not have a signature
        return inspect.Signature()


def _parameter_type(parameter: inspect.Parameter) -> object:
    if parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str):
        return parameter.annotation
    default = parameter.default
    if default is parameter.empty or default is None:
        return float | None
    return float if type(default) is int else type(default)


def _nested(model: type[PluginArguments], given: Mapping[str, object], plugin: str, option: str) -> dict[str, object]:
    values: dict[str, Any] = {}
    for name, value in given.items():
        prefix, _, key = name.partition(".")
        field = model.model_fields.get(prefix)
        if key and field is not None and _origin(field.annotation) is dict:
            if prefix in given:
                raise UsageError(f"{plugin} takes {prefix}=… or {prefix}.KEY=…, not both.", option=option)
            values.setdefault(prefix, {})[key] = _json_or_text(value)
        else:
            values[name] = value
    return values


def _json_or_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except InvalidJson:
        return value


def _problem(model: type[PluginArguments], detail: ErrorDetails, plugin: str) -> str:
    name = ".".join(str(step) for step in detail["loc"])
    names = [field.alias or key for key, field in model.model_fields.items()]
    known = ", ".join(names) or "none"
    others = "".join(f" With {key}=…: {', '.join(also.model_fields)}." for key, also in model.instead.items())
    if detail["type"] == "extra_forbidden":
        also = (other for alternative in model.instead.values() for other in alternative.model_fields)
        similar = closest(name.replace("-", "_"), [*names, *also])
        return f"{plugin} has no argument '{name}'.{similar} It has: {known}.{others}"
    if detail["type"] == "missing":
        alternatives = "".join(f" (or {key}=…)" for key in model.instead)
        return f"{plugin} needs {name}=…{alternatives}. Its arguments: {known}.{others}"
    text = detail["msg"].removeprefix("Value error, ")
    text = f"{text[0].lower()}{text[1:]}"
    return f"{name}={str(detail['input'])[:200]}: {text} ({plugin})." if name else f"{text} ({plugin})."


def _origin(annotation: object) -> object:
    """The class of a field's annotation: dict for `dict[str, Any] | None`."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _origin(next(part for part in get_args(annotation) if part is not type(None)))
    return origin or annotation


def _type_text(field: FieldInfo) -> str:
    return " ".join([_annotation_text(field.annotation), *_limits(field.metadata)])


def _limits(rules: Iterable[object]) -> list[str]:
    """`> 0` and the like."""
    return [
        f"{sign} {getattr(rule, limit):g}"
        for rule in rules
        for limit, sign in LIMITS.items()
        if getattr(rule, limit, None) is not None
    ]


def _annotation_text(annotation: object) -> str:
    """`words|characters` for a Literal, `int > 0|null` for an optional positive integer."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, parts))
    if origin is Annotated:
        return " ".join([_annotation_text(parts[0]), *_limits(parts[1:])])
    if origin in (Union, types.UnionType):
        return "|".join(map(_annotation_text, parts))
    if origin is dict:
        return "KEY=value"
    if annotation is type(None):
        return "null"
    return annotation.__name__ if isinstance(annotation, type) and not parts else str(annotation).replace("typing.", "")
