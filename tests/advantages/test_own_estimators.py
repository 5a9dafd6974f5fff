"""A user's own estimators: plain functions and classes, their arguments, and how their failures are reported."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.advantages.compute import advantages_provenance
from grao_pipeline.advantages.estimators.load import load_estimator
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import UsageError
from tests import tiny
from tests.advantages.common import Group, compute

MODULE = """
import polars as pl
from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean
from grao_pipeline.arguments import PluginArguments, argument


def scaled(view, *, statistics, scale=2.0, shift: int = 0):
    return (REWARD - group_mean(statistics)) * scale + shift


class Scaled(Estimator):
    class Arguments(PluginArguments):
        scale: float = argument(2.0, "Factor of every advantage.", gt=0)

    arguments: Arguments

    def over_group(self, view, *, statistics):
        return (REWARD - group_mean(statistics)) * self.arguments.scale


class OverTable(Estimator):
    def over_group(self, view, *, statistics):
        return REWARD / pl.col("table_std")

    def over_table(self, view, *, statistics):
        return REWARD


class Misspelled(OverTable):
    over_table = Estimator.over_table

    def over_tables(self, view, *, statistics):
        return REWARD


class WithoutRewards(Estimator, uses_rewards=False):
    def over_group(self, view, *, statistics):
        return pl.lit(1.0)


class NotAnEstimator: ...


NUMBER = 3
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with the module `own_estimators`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_estimators.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("own_estimators", None)


@pytest.fixture
def tables(place: Path) -> tuple[str, str]:
    """Groups and scores of one group."""
    row = tiny.group_row("a", ["x", "y"])
    groups = tiny.write_table(place / "groups", "groups", [row])
    scores = [{"group_id": row["group_id"], "rewards": [1.0, 0.0], "reference_reward": 0.5, "statuses": ["ok", "ok"]}]
    return groups, tiny.write_table(place / "scores", "scores", scores, options={"name": "own"})


def advantages(place: Path, name: str, *groups: Group, **options: Any) -> list[Any]:
    computed, _ = compute(place / "tables", groups, estimator=f"own_estimators:{name}", **options)
    return [samples for samples, _ in computed]


PAIR = Group([1.0, 3.0], None, has_reference=False)  # μ = 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scaled", "Scaled"])
def test_functions_and_classes_take_arguments(place: Path, name: str) -> None:
    assert advantages(place / "default", name, PAIR) == [[-2.0, 2.0]]
    assert advantages(place / "given", name, PAIR, estimator_arg=["scale=0.5"]) == [[-0.5, 0.5]]


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("scaled", "scal=1", "estimator 'own_estimators:scaled' has no argument 'scal'. Did you mean scale?"),
        ("scaled", "scale=much", "scale=much: input should be a valid number"),
        ("scaled", "shift=0.5", "shift=0.5: input should be a valid integer"),
        ("scaled", "statistics=samples", "estimator 'own_estimators:scaled' has no argument 'statistics'."),
        ("Scaled", "scale=0", "scale=0: input should be greater than 0 (estimator 'own_estimators:Scaled')."),
        ("Scaled", "scale", "'scale': expected key=value."),
        ("OverTable", "scale=1", "estimator 'own_estimators:OverTable' has no argument 'scale'. It has: none."),
    ],
)
def test_a_wrong_argument_is_a_usage_error(name: str, argument: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_estimator(AdvantagesOptions(estimator=f"own_estimators:{name}", estimator_arg=[argument]))
    assert caught.value.message.startswith(message)
    assert caught.value.option == "estimator_arg"


@pytest.mark.parametrize("name", ["NotAnEstimator", "NUMBER"])
def test_what_is_not_an_estimator_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"own_estimators:{name}' is neither a function nor a subclass of Estimator"):
        load_estimator(AdvantagesOptions(estimator=f"own_estimators:{name}"))


@pytest.mark.slow
def test_a_class_may_read_a_deviation_over_the_table(place: Path) -> None:
    """Rewards −2, 2 and −2, 2: σ_T = 2."""
    group = Group([-2.0, 2.0], None, has_reference=False)
    assert advantages(place, "OverTable", group, group) == [[-1.0, 1.0]] * 2


def test_the_deviation_is_not_silently_missing(place: Path) -> None:
    with pytest.raises(Exception, match="table_std"):
        advantages(place, "Misspelled", PAIR)


def test_a_class_says_that_it_uses_no_rewards(place: Path) -> None:
    assert advantages(place, "WithoutRewards", Group([1.0, 1.0], 1.0)) == [[1.0, 1.0]]


def test_a_misspelled_trait_is_an_error(place: Path) -> None:
    (place / "own_estimators.py").write_text(MODULE.replace("uses_rewards", "use_rewards"))
    with pytest.raises(UsageError, match="unexpected keyword argument 'use_rewards'"):
        load_estimator(AdvantagesOptions(estimator="own_estimators:WithoutRewards"))


def test_an_edited_estimator_changes_the_fingerprint(place: Path) -> None:
    source = place / "edited_estimator.py"
    source.write_text("import polars as pl\ndef f(view, *, statistics):\n    return pl.lit(1.0)\n")
    options = AdvantagesOptions(estimator="edited_estimator:f")
    before = advantages_provenance(options, "g", []).fingerprint
    assert advantages_provenance(options, "g", []).fingerprint == before
    source.write_text("import polars as pl\ndef f(view, *, statistics):\n    return pl.lit(2.0)\n")
    assert advantages_provenance(options, "g", []).fingerprint != before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('color')", "KeyError: 'color'"),
        ("return pl.col('color')", "ColumnNotFoundError"),
        ("return 1.0", "returned 1.0. It is called with (view, statistics=…)"),
        ("return None", "returned None"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("return f(view, statistics=statistics)", "RecursionError"),
        ("return pl.Series([1.0])", "returned shape"),
        ("return pl.lit('a')", "InvalidOperationError"),
        ("return pl.col('reward').map_elements(lambda x: 1 / 0, return_dtype=pl.Float64)", "ZeroDivisionError"),
    ],
)
def test_a_failing_estimator_is_named_without_traceback(
    tables: tuple[str, str], place: Path, body: str, message: str
) -> None:
    name = f"failing_{abs(hash(body))}"
    (place / f"{name}.py").write_text(f"import polars as pl\ndef f(view, *, statistics):\n    {body}\n")
    groups, scores = tables
    result = tiny.grao("advantages", groups, place / "out", "--scores", scores, "--estimator", f"{name}:f")
    assert result.exit_code == 1
    assert f"Estimator '{name}:f' " in result.stderr
    assert message in result.stderr
    lines = [f"failed at {place / name}.py:{line}: " for line in (2, 3)]
    assert "returned" in message or any(line in result.stderr for line in lines)
