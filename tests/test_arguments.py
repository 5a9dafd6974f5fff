"""Typed arguments of plug-ins."""

from typing import Any, Literal

import pytest
from pydantic import PositiveInt

from grao_pipeline.arguments import NoArguments, PluginArguments, argument, described_arguments, parse_arguments
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
        ({"target": "3", "targets": "4"}, "arg: reward 'x' has no argument 'targets'. It has: target, unit, strict"),
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
    assert first == {"name": "target", "type": "int > 0", "default": None, "required": True, "help": "Wanted length."}
    assert second["default"] == "words"
    assert second["type"] == "Literal['words', 'characters']"
