"""Typed arguments of plug-ins."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import PositiveInt

from grao_pipeline.arguments import (
    NoArguments,
    PluginArguments,
    argument,
    described_arguments,
    function_arguments,
    parse_arguments,
)
from grao_pipeline.errors import UsageError


class LengthArguments(PluginArguments):
    target: PositiveInt = argument(..., "Wanted length.")
    unit: Literal["words", "characters"] = argument("words", "What is counted.")
    strict: bool = argument(False, "Whether a miss is 0.")
    body: dict[str, Any] = argument({}, "Passed on.")


def parse(**given: Any) -> LengthArguments:
    return parse_arguments(LengthArguments, {k.replace("__", "."): v for k, v in given.items()}, "reward 'x'", "arg")


def test_texts_become_what_the_model_says() -> None:
    parsed = parse(target="200", strict="true", body__seed="1", body__effort="low", body__stop='["a"]')
    assert parsed == LengthArguments(target=200, strict=True, body={"seed": 1, "effort": "low", "stop": ["a"]})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "0"}, "arg: target=0: input should be greater than 0 (reward 'x')."),
        ({"target": "many"}, "arg: target=many: input should be a valid integer"),
        ({"target": "3", "unit": "pages"}, "arg: unit=pages: input should be 'words' or 'characters'"),
        ({}, "arg: reward 'x' needs target=…. Its arguments: target, unit, strict, body."),
        ({"target": "3", "targets": "4"}, "arg: reward 'x' has no argument 'targets'. Did you mean target? It has: "),
    ],
)
def test_what_is_wrong_is_named_with_its_value(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(**given)
    assert str(caught.value).startswith(message)
    assert caught.value.option == "arg"


def test_a_plugin_without_arguments_takes_none() -> None:
    with pytest.raises(UsageError, match=r"has no argument 'a'\. It has: none\."):
        parse_arguments(NoArguments, {"a": "1"}, "reward 'x'", "arg")


def test_arguments_are_described_with_type_default_and_help() -> None:
    first, second, *_ = described_arguments(LengthArguments)
    assert first == {
        "name": "target",
        "type": "int > 0",
        "default": None,
        "required": True,
        "help": "Wanted length.",
        "example": "VALUE",
    }
    assert second["default"] == "words"
    assert second["type"] == "words|characters"


def defined(source: str) -> Callable[..., object]:
    """The function `f` of a user's source, with as few annotations as he likes."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    function: Callable[..., object] = scope["f"]
    return function


PLAIN = defined("""
from typing import Literal

def f(view, *, statistics, share=0.1, count=3, strict=False, limit=None, unit: Literal["words", "characters"] = "words",
      scale: float = 1, steps: int = 2, _cache=None, **others):
    return 0.0
""")
SUPPLIED = ("view", "statistics")


def parse_plain(**given: str) -> dict[str, Any]:
    model = function_arguments(PLAIN, SUPPLIED)
    return parse_arguments(model, given, "estimator 'm:plain'", "estimator_arg").model_dump()


def test_a_functions_parameters_are_its_arguments() -> None:
    described = {
        row["name"]: (row["type"], row["default"]) for row in described_arguments(function_arguments(PLAIN, SUPPLIED))
    }
    assert described == {
        "share": ("float", 0.1),
        "count": ("float", 3),
        "strict": ("bool", False),
        "limit": ("float|null", None),
        "unit": ("words|characters", "words"),
        "scale": ("float", 1),
        "steps": ("int", 2),
    }


def test_a_functions_arguments_are_converted_by_annotation_or_default() -> None:
    defaults = {"share": 0.1, "count": 3, "strict": False, "limit": None, "unit": "words", "scale": 1, "steps": 2}
    assert parse_plain() == defaults
    texts = {"share": "2", "count": "0.5", "strict": "true", "limit": "1e-3", "unit": "characters", "steps": "4"}
    values = {"share": 2.0, "count": 0.5, "strict": True, "limit": 0.001, "unit": "characters", "steps": 4}
    assert parse_plain(**texts) == {**defaults, **values}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"shar": "1"},
            "estimator 'm:plain' has no argument 'shar'. Did you mean share? It has: share, count, strict, ",
        ),
        ({"share": "much"}, "share=much: input should be a valid number"),
        ({"count": "many"}, "count=many: input should be a valid number"),
        ({"steps": "0.5"}, "steps=0.5: input should be a valid integer"),
        ({"share": "nan"}, "share=nan: input should be a finite number"),
        ({"statistics": "samples"}, "estimator 'm:plain' has no argument 'statistics'."),
        ({"_cache": "1"}, "estimator 'm:plain' has no argument '_cache'."),
    ],
)
def test_a_wrong_argument_of_a_function_is_a_usage_error(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_plain(**given)
    assert caught.value.message.startswith(message)
    assert caught.value.option == "estimator_arg"


def test_a_parameter_without_a_default_is_required() -> None:
    model = function_arguments(defined("def f(view, *, margin: float): ..."), ["view"])
    with pytest.raises(UsageError, match=r"estimator 'm:f' needs margin=…\. Its arguments: margin\."):
        parse_arguments(model, {}, "estimator 'm:f'", "estimator_arg")


def test_annotations_that_cannot_be_evaluated_or_written_do_no_harm() -> None:
    source = """
class Table: ...
def f(view: "NowhereDefined", *, share: "NowhereDefined" = 0.5): ...
def g(view, table: Table = Table()): ...
"""
    scope: dict[str, Any] = {}
    exec(source, scope)
    model = function_arguments(scope["f"], ["view"])
    assert parse_arguments(model, {"share": "0.25"}, "estimator 'm:f'", "arg").model_dump() == {"share": 0.25}
    with pytest.raises(UsageError, match="table=x: input should be an instance of"):
        parse_arguments(function_arguments(scope["g"], ["view"]), {"table": "x"}, "estimator 'm:g'", "arg")
    assert described_arguments(function_arguments(max)) == []
