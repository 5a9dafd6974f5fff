"""Engines by name: built-in ones, and a user's class with its own arguments."""

from pathlib import Path
from typing import Literal

import pytest

from grao_pipeline.arguments import PluginArguments, argument, described_arguments
from grao_pipeline.errors import UsageError
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.generation.engines.base import Engine, EngineOptions, FakeEngine
from grao_pipeline.generation.engines.make import EngineRecipe, load_engine_class, parse_engine_arguments
from grao_pipeline.generation.engines.vllm import VllmArguments
from grao_pipeline.models.vllm_process import RESERVED
from grao_pipeline.storage.reader import open_table
from tests import tiny

OPTIONS = EngineOptions("model", "float32", 256, "cpu", 32)
USERS_ENGINE = '''
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.generation.engines.base import Engine, Sample, SampledGroup


class ConstantEngine(Engine):
    """Samples one token again and again."""

    class Arguments(PluginArguments):
        token_id: int = argument(..., "The token.", ge=0)

    def __init__(self, options, arguments):
        self._token_id = arguments.token_id

    def generate(self, parts, sampling):
        for part in parts:
            for request in part:
                sample = Sample([self._token_id] * request.max_new_tokens, None, "length")
                yield [SampledGroup(request.key, [sample] * request.num_samples)]
'''


class NoEngine:
    """Has the methods of an engine, but is not one."""

    def generate(self) -> None: ...


class WithoutGenerate(Engine):
    """Lacks `generate`."""


class WrongArguments(FakeEngine):
    """Its arguments are not a model."""

    Arguments = dict  # type: ignore[assignment]


class WrongConstructor(FakeEngine):
    """Does not receive the arguments."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__()


class TypedEngine(FakeEngine):
    """Has arguments of several types."""

    class Arguments(PluginArguments):
        depth: int = argument(..., "Depth of the search.", gt=0)
        mode: Literal["fast", "exact"] = argument("fast", "How it searches.")

    def __init__(self, options: EngineOptions, arguments: Arguments) -> None:
        super().__init__()
        self.arguments = arguments


@pytest.mark.slow
def test_an_engine_of_the_user_gets_its_arguments_and_samples(
    model: Path, prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constant_engine.py").write_text(USERS_ENGINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    command = ["generate", prompts, tmp_path / "out", "--model", model, "--engine", "constant_engine:ConstantEngine"]
    refused = tiny.grao(*command, "--engine-arg", "token_id=-1")
    assert (refused.exit_code, "token_id=-1: input should be greater than or equal to 0" in refused.stderr) == (2, True)
    tiny.grao_json(*command, "--engine-arg", "token_id=9", "--max-new-tokens", 3, "--samples", 2)
    rows = open_table(str(tmp_path / "out"), "groups").arrow().to_pylist()
    assert {str(row["completion_token_ids"]) for row in rows} == {"[[9, 9, 9], [9, 9, 9]]"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoEngine", r"is not an engine: it must be a subclass of grao_pipeline\.generation\.engines\.base\.Engine"),
        ("OPTIONS", "is not an engine"),
        ("WithoutGenerate", "has no method generate"),
        ("WrongArguments", "its Arguments must be a subclass of PluginArguments"),
        ("WrongConstructor", r"must be constructed with \(options, arguments\): too many positional arguments"),
    ],
)
def test_a_class_that_cannot_be_an_engine_is_wrong_usage(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        EngineRecipe(f"{__name__}:{name}", {}, OPTIONS).open()
    assert caught.value.option == "engine"


def test_arguments_reach_the_engine_converted() -> None:
    engine = EngineRecipe(f"{__name__}:TypedEngine", {"depth": "3"}, OPTIONS).open()
    assert isinstance(engine, TypedEngine)
    assert engine.arguments == TypedEngine.Arguments(depth=3, mode="fast")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs depth=…"),
        ({"depth": "0"}, "depth=0: input should be greater than 0"),
        ({"depth": "1", "mode": "slow"}, "mode=slow: input should be 'fast' or 'exact'"),
        ({"deep": "1", "depth": "1"}, r"has no argument 'deep'\. Did you mean depth\? It has: depth, mode\."),
    ],
)
def test_a_wrong_argument_is_refused_before_the_engine_is_opened(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_engine_arguments(f"{__name__}:TypedEngine", given)
    assert caught.value.option == "engine_arg"


@pytest.mark.parametrize("name", ENGINES)
def test_every_built_in_engine_describes_its_arguments(name: str) -> None:
    engine_class = load_engine_class(name)
    assert engine_class.__doc__
    assert all(description["help"] for description in described_arguments(engine_class.Arguments))


def test_undeclared_arguments_of_vllm_are_read_as_json() -> None:
    given = {"max_num_seqs": "8", "block_size": "16", "compilation_config": '{"level": 3}', "swap": "much"}
    arguments = parse_engine_arguments("vllm", given)
    assert isinstance(arguments, VllmArguments)
    assert arguments.given() == {
        "max_num_seqs": 8,
        "block_size": 16,
        "compilation_config": {"level": 3},
        "swap": "much",
    }
    for reserved in RESERVED:
        with pytest.raises(UsageError, match=f"'{reserved}' cannot be set here"):
            parse_engine_arguments("vllm", {reserved: "1"})
