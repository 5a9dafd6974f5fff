"""`grao plugins list` and `show`, and the help of a command that names a plug-in."""

import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from grao_pipeline.advantages.filters.by_options import Phase, active_filters
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.arguments import arguments_of, parse_arguments
from grao_pipeline.cli.command import make_stage_command
from grao_pipeline.cli.plugins import filter_descriptions
from grao_pipeline.options import option_flag, parse_options
from grao_pipeline.pipeline import stage_named
from grao_pipeline.plugin_kinds import KINDS, describe_plugin
from grao_pipeline.plugins import load
from tests import tiny

PLUGINS = [(kind.name, name) for kind in KINDS for name in kind.built_in()]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_says_what_it_is_and_what_its_arguments_are(kind: str, name: str) -> None:
    description = describe_plugin(kind, name)
    assert description.summary.endswith(".")
    assert len(description.summary) < 160
    for argument in description.arguments:
        assert argument["help"].endswith("."), argument["name"]
        assert argument["type"]


@pytest.mark.slow
def test_plugins_are_listed_by_kind() -> None:
    kinds = tiny.grao_json("plugins", "list")
    weighing = ["combination", "reshape", "filter", "token_weight"]
    training = ["objective", "engine", "attention", "tracker", "export"]
    prompts = ["format", "rewrite", "priority", "budget"]
    names = [*prompts, "reward", "judge_engine", "estimator", *weighing, *training]
    assert list(kinds) == names
    assert "length" in kinds["reward"]
    assert "zero-variance" in kinds["filter"]
    assert list(tiny.grao_json("plugins", "list", "--kind", "estimator")) == ["estimator"]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_an_example_gives_every_required_argument_a_value_of_its_type(kind: str, name: str) -> None:
    of_kind = {known.name: known for known in KINDS}[kind]
    words = shlex.split(describe_plugin(kind, name).example)
    assert not [word for word in words if "…" in word]
    flag = option_flag(of_kind.argument_option)
    pairs = [after.split("=", 1) for word, after in pairwise(words) if word == flag]
    given = {key.removeprefix(f"{name}."): value for key, value in pairs if key != "engine"}
    plugin = load(kind, name, of_kind.built_in())
    parse_arguments(arguments_of(plugin, of_kind.supplied), given, name, "arg")


def test_an_example_can_be_copied_from_the_terminal() -> None:
    """A line is continued with a backslash between two words, never within one."""
    shown = tiny.grao("plugins", "show", "contrast-bonus").stdout
    example = shown.split("\nExample:\n")[1]
    assert len(example.splitlines()) > 1
    assert shlex.split(example.replace("\\\n", "")) == shlex.split(describe_plugin("reshape", "contrast-bonus").example)


@pytest.mark.parametrize("name", filter_descriptions())
def test_the_example_of_a_filter_of_options_switches_it_on(name: str) -> None:
    words = shlex.split(filter_descriptions()[name].example)[4:]
    command = make_stage_command(stage_named("advantages"))
    given = command.make_context("advantages", ["GROUPS", "OUT", *words]).params
    options = parse_options(AdvantagesOptions, {key: given[key] for key in AdvantagesOptions.model_fields})
    phases: tuple[Phase, ...] = ("before", "after")
    active = {one.name for phase in phases for one, _ in active_filters(options, phase)}
    assert active == {name, "zero-variance"}  # which is always on by default


def test_a_plugin_is_shown_with_defaults_and_an_example() -> None:
    shown = tiny.grao("plugins", "show", "length").stdout
    assert "target=int > 0" in shown
    assert "[required]" in shown
    assert "[default: words]" in shown
    assert "grao score GROUPS OUT --reward length --reward-arg target=200" in shown


@pytest.mark.slow
def test_a_name_of_several_kinds_is_shown_for_each() -> None:
    shown = tiny.grao_json("plugins", "show", "grpo")["plugins"]
    assert [plugin["kind"] for plugin in shown] == ["estimator", "objective"]
    assert [plugin["kind"] for plugin in tiny.grao_json("plugins", "show", "too-short")["plugins"]] == ["filter"]


@pytest.mark.slow
def test_an_unknown_plugin_is_answered_with_a_similar_one() -> None:
    result = tiny.grao("plugins", "show", "grop")
    assert result.exit_code == 2
    assert "Unknown plug-in 'grop'. Did you mean grpo?" in result.stderr


def test_a_users_function_is_shown_with_its_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
import polars as pl

def halved(view: pl.DataFrame, *, statistics: str, factor: float = 0.5) -> pl.Expr:
    '''Half the reward.'''
    return pl.col("reward") * factor
"""
    (tmp_path / "shown_estimators.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    [shown] = tiny.grao_json("plugins", "show", "shown_estimators:halved", "--kind", "estimator")["plugins"]
    assert shown["summary"] == "Half the reward."
    assert [(argument["name"], argument["default"]) for argument in shown["arguments"]] == [("factor", 0.5)]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["score", "--reward", "length"], "target=int > 0"),
        (["score", "--reward=judge-rubric"], "reward 'judge-rubric'"),
        (["advantages", "--estimator", "asymre"], "delta_v=float"),
        (["train", "--objective", "grao"], "exploration="),
        (["advantages", "--filter", "indistinct"], "indistinct.tau=float > 0"),
        (["advantages", "--reshape", "overlong"], "overlong.limit=int > 0"),
        (["advantages", "--token-weights", "top-entropy"], "top-entropy.share=float"),
    ],
)
def test_the_help_of_a_command_shows_the_arguments_of_its_plugin(arguments: list[str], shown: str) -> None:
    assert shown in tiny.grao(*arguments, "--help").stdout
    assert shown not in tiny.grao(arguments[0], "--help").stdout


def test_the_help_shows_every_plugin_of_a_repeated_option_once() -> None:
    words = ["--reshape", "unlikely", "--reshape=overlong", "--reshape", "unlikely"]
    shown = tiny.grao("advantages", *words, "--help").stdout
    assert [shown.count(f"\nreshape '{name}':\n") for name in ("unlikely", "overlong", "class-mean")] == [1, 1, 0]


def test_help_with_an_unknown_plugin_is_a_clear_error() -> None:
    result = tiny.grao("score", "--reward", "lenght", "--help")
    assert result.exit_code == 2
    assert "unknown reward 'lenght'. Did you mean length?" in result.stderr
