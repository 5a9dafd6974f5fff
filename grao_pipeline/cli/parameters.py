"""Click options from the fields of an options model, and the way back: a command line from options."""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from grao_pipeline.options import StageOptions, extra_of, option_flag
from grao_pipeline.stage import Stage

Declaration = tuple[list[str], dict[str, Any]]
"""Names and attributes of a click option."""


def option_declarations(model: type[StageOptions]) -> list[Declaration]:
    """One click option per field, in the order of the fields.

    No option is required by click: it may stand in the file of `--options`, and the options model checks that.
    """
    return [_declaration(name, field) for name, field in model.model_fields.items()]


def command_line(stage: Stage, inputs: tuple[str, ...], out: str, options: StageOptions) -> list[str]:
    """`grao NAME …`, word by word, that runs a stage with these options; defaults are left out."""
    words = ["grao", stage.name, *inputs, out]
    for name in sorted(options.model_fields_set):
        flag = option_flag(type(options).model_fields[name].alias or name)
        value = getattr(options, name)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list):
            words += [word for element in value for word in (flag, *_words(element))]
        elif value is not None:
            words += [flag, str(value)]
    return words


def plugin_names(kind: str, incomplete: str) -> list[str]:
    """The plug-ins of a kind whose names begin like this, for the completion of the shell; nothing is imported."""
    from grao_pipeline.plugin_kinds import KINDS

    names = next((of_kind.names() for of_kind in KINDS if of_kind.name == kind), [])
    return [name for name in names if name.startswith(incomplete)]


def paths(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leaves the completion of a path to the shell."""
    return [CompletionItem(incomplete, type="file")]


def _words(element: object) -> list[str]:
    return [str(part) for part in element] if isinstance(element, tuple) else [str(element)]


def _declaration(name: str, field: FieldInfo) -> Declaration:
    flag = option_flag(field.alias or name)
    kind, multiple = _click_type(field.annotation)
    is_required = field.is_required() or bool(extra_of(field).get("required"))
    default = None if field.is_required() or field.default is PydanticUndefined else field.default
    help = f"{field.description}  [required]" if is_required else field.description
    if kind is bool:
        return [f"{flag}/--no-{flag[2:]}", name], {"default": default, "help": help, "show_default": True}
    plugin = str(extra_of(field).get("plugin") or "")
    return [flag, name], {
        "shell_complete": (lambda ctx, param, incomplete: plugin_names(plugin, incomplete)) if plugin else None,
        "type": kind,
        "nargs": 2 if kind == (str, str) else 1,
        "metavar": extra_of(field).get("metavar"),
        "default": None if multiple else default,
        "multiple": multiple,
        "show_default": default not in (None, "") and not multiple,
        "help": help,
    }


def _click_type(annotation: object) -> tuple[object, bool]:
    """(click type, whether it may be repeated) of a field's annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _click_type(get_args(annotation)[0])
    if origin is Literal:
        return click.Choice(list(get_args(annotation))), False
    if origin is list:
        element = get_args(annotation)[0]
        if get_origin(element) is tuple:
            return (str, str), True
        return element if element in (int, float) else str, True
    if origin in (Union, types.UnionType):
        first, *others = (part for part in get_args(annotation) if part is not type(None))
        return (str, False) if others else _click_type(first)  # of several kinds: the options model reads the text
    return annotation, False
