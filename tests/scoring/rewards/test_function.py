"""A Python function or class as a reward: its inputs, its return values, its mistakes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from tests import tiny
from tests.scoring.common import judge, rewards

MODULE = """
import functools
import math

import numpy
import torch

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Judgement, Reward

calls = []

def as_list(completions): return [len(text) for text in completions]
def as_generator(completions): return (len(text) for text in completions)
def as_array(completions): return numpy.array([len(text) for text in completions], dtype=numpy.float32)
def as_tensor(completions): return torch.tensor([len(text) for text in completions])
def as_scalars(completions): return [numpy.float64(1.5), numpy.int32(2), numpy.bool_(True)]
def as_booleans(completions): return [text.startswith("a") for text in completions]
def odd_values(completions): return [None, math.nan, "1.0"]
def infinite(completions): return [math.inf, 1e39, 10**400]
def raises_on_one(completions):
    if any("bad" in text for text in completions):
        raise KeyError("bad row")
    return [1.0] * len(completions)
def always_raises(completions): raise RuntimeError("no model")
def too_few(completions): return [1.0] * (len(completions) - 1)
def sees(completions, prompts, references, metadata):
    calls.append((completions, prompts, references, metadata))
    return [0.0] * len(completions)
def with_argument(completions, factor, offset="1"): return [float(factor) + float(offset) for _ in completions]
def takes_any(completions, **others): return [float(len(others)) for _ in completions]
def needs_and_takes_any(completions, factor, **others): return [float(factor) for _ in completions]
def without_completions(references): return [1.0 for _ in references]
def spoils(completions, prompts, metadata):
    for messages, values in zip(prompts, metadata):
        messages[0]["content"] = "spoilt"
        values.clear()
    return [1.0] * len(completions)
wrapped = functools.wraps(as_list)(lambda *args, **kwargs: as_list(*args, **kwargs))
partial = functools.partial(with_argument, factor="2")
NUMBER = 3
class Own(Reward):
    class Arguments(PluginArguments):
        x: int = argument(0, "A number.")
        lost: int = argument(0, "Judgements that are left out.")
    def score(self, candidates):
        return [Judgement(None, "unparsable", "hm")] * (len(candidates) - self.arguments.lost)
class DuckTyped:
    def __init__(self, arguments, runtime): pass
    def identity(self): return {}
    def score(self, candidates): return []
class WithoutScore(Reward):
    pass
"""
TEXTS = ["a", "bad", "ccc"]


@pytest.fixture(scope="module", autouse=True)
def own_rewards(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("functions")
    (directory / "own_rewards.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(directory))
        yield


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("as_list", [1, 3, 3]),
        ("as_generator", [1, 3, 3]),
        ("as_array", [1, 3, 3]),
        ("as_tensor", [1, 3, 3]),
        ("as_scalars", [1.5, 2, 1]),
        ("as_booleans", [1, 0, 0]),
        ("wrapped", [1, 3, 3]),
        ("takes_any", [4, 4, 4]),
        ("odd_values", [None, None, None]),
        ("infinite", [None, None, None]),
        ("raises_on_one", [1, None, 1]),
        ("always_raises", [None, None, None]),
    ],
)
def test_a_function_may_return_numbers_of_any_type(name: str, expected: list[float | None]) -> None:
    judgements = judge(f"own_rewards:{name}", TEXTS)
    assert rewards(judgements) == expected
    statuses = ["error" if value is None else "ok" for value in expected]
    statuses[0] = "not_applicable" if name == "odd_values" else statuses[0]  # it returns None
    assert [judgement.status for judgement in judgements] == statuses


def test_an_error_says_what_happened() -> None:
    line = next(number for number, text in enumerate(MODULE.splitlines(), 1) if "bad row" in text)
    detail = f"KeyError: 'bad row' (own_rewards.py:{line})"
    assert judge("own_rewards:raises_on_one", TEXTS)[1] == Judgement(None, "error", detail)
    assert judge("own_rewards:odd_values", TEXTS)[2].detail == "the reward is '1.0', not a finite (float32) number"


def test_a_wrong_number_of_rewards_fails_the_stage() -> None:
    with pytest.raises(StageFailure, match=r"own_rewards:too_few returned \d rewards for 3 completions"):
        judge("own_rewards:too_few", TEXTS)


def test_a_function_sees_what_belongs_to_each_completion() -> None:
    import own_rewards  # type: ignore[import-not-found]

    candidates = [
        Candidate([{"role": "user", "content": "q1"}], "a", "r1", {"answer": 1}),
        Candidate([{"role": "user", "content": "q2"}], "b", None, {}),
    ]
    make_reward(ScoreOptions(reward="own_rewards:sees")).score(candidates)
    assert own_rewards.calls == [
        (
            ["a", "b"],
            [[{"role": "user", "content": "q1"}], [{"role": "user", "content": "q2"}]],
            ["r1", None],
            [{"answer": 1}, {}],
        )
    ]


def test_a_function_cannot_change_the_rows() -> None:
    candidate = Candidate([{"role": "user", "content": "q"}], "a", "r", {"answer": 1})
    make_reward(ScoreOptions(reward="own_rewards:spoils")).score([candidate])
    assert candidate == Candidate([{"role": "user", "content": "q"}], "a", "r", {"answer": 1})


STYLES = """
import asyncio

def trl(completions, answer, **kwargs):
    return [float(text == expected) for text, expected in zip(completions, answer)]
def trl_messages(prompts, completions, answer, level=None, **kwargs):
    return [float(turn[0]["content"] == expected) for turn, expected in zip(completions, answer)]
def optional(completions, level=None): return [0.0 if level is None else float(level[0])] * len(completions)
def verl(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": float(solution_str == ground_truth), "source": data_source}
async def waits(completions):
    await asyncio.sleep(0)
    return [1.0] * len(completions)
async def waits_per_sample(solution_str, ground_truth):
    await asyncio.sleep(0)
    return float(solution_str == ground_truth)
def cut(completions, finish_reasons): return [float(reason == "length") for reason in finish_reasons]
def bad_index(completions): return [text["content"] for text in completions]
"""


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file that lies in no directory of `sys.path`."""
    path = tmp_path_factory.mktemp("styles") / "reward_styles.py"
    path.write_text(STYLES)
    return str(path)


@pytest.mark.parametrize("name", ["trl", "trl_messages", "verl", "waits_per_sample"])
@pytest.mark.parametrize("metadata", [{"answer": "4"}, {"answer": "4", "data_source": "x", "level": 2}])
def test_functions_of_trl_and_verl_get_the_fields_of_the_metadata(
    name: str, metadata: dict[str, Any], styles: str
) -> None:
    assert rewards(judge(f"{styles}:{name}", ["4", "5"], **metadata)) == [1.0, 0.0]


def test_a_nested_ground_truth_of_verl_is_its_ground_truth(styles: str) -> None:
    metadata: dict[str, Any] = {"reward_model": {"ground_truth": "4", "style": "rule"}, "data_source": "x"}
    assert rewards(judge(f"{styles}:verl", ["4", "5"], **metadata)) == [1.0, 0.0]


def test_an_async_function_is_awaited(styles: str) -> None:
    assert rewards(judge(f"{styles}:waits", ["4", "5"])) == [1.0, 1.0]


def test_optional_fields_and_finish_reasons_are_passed_on(styles: str) -> None:
    assert rewards(judge(f"{styles}:optional", ["4"])) == [0.0]
    assert rewards(judge(f"{styles}:optional", ["4"], level=2)) == [2.0]
    reward = make_reward(ScoreOptions(reward=f"{styles}:cut"))
    assert rewards(list(reward.score([Candidate([], "a", None, {}, finish_reason="length")]))) == [1.0]


def test_a_field_that_a_row_lacks_is_named_with_those_that_it_has(styles: str) -> None:
    (judgement,) = judge(f"{styles}:trl", ["4"], gold="4", level=1)
    assert judgement.detail == (
        "LookupError: the metadata has no 'answer', which the function needs; it has: gold, level; "
        "or give --reward-arg answer=…"
    )
    (judgement,) = judge(f"{styles}:bad_index", ["4"])
    assert str(judgement.detail).startswith("TypeError: string indices must be integers, not 'str' (")


def test_a_file_and_a_function_that_are_not_there_are_named(styles: str) -> None:
    with pytest.raises(UsageError, match=r"reward: there is no file 'nowhere/rewards\.py'"):
        make_reward(ScoreOptions(reward="nowhere/rewards.py:function"))
    with pytest.raises(UsageError, match="module 'reward_styles' has no attribute 'waist'"):
        make_reward(ScoreOptions(reward=f"{styles}:waist"))


def test_arguments_are_passed_on_as_strings() -> None:
    assert rewards(judge("own_rewards:with_argument", ["a"], "factor=2")) == [3]
    assert rewards(judge("own_rewards:with_argument", ["a"], "factor=2", "offset=0.5")) == [2.5]
    assert rewards(judge("own_rewards:takes_any", ["a"], "this=1", "that=2")) == [6]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("with_argument", ["facto=1"], "has no argument 'facto'. Did you mean factor?"),
        ("without_completions", [], "does not take 'completions'"),
        ("as_list", ["factor=2"], "reward_arg: Reward own_rewards:as_list has no argument 'factor'"),
        ("as_list", ["completions=2"], "reward_arg: Reward own_rewards:as_list has no argument 'completions'"),
        ("NUMBER", [], "reward: 3 is neither a Python function nor a class that derives from Reward"),
        ("partial", [], r"reward: functools\.par.* is neither a Python function nor a class"),
        ("DuckTyped", [], r"Class 'own_rewards:DuckTyped' must derive from grao_pipeline.Reward"),
        ("WithoutScore", [], r"Class 'own_rewards:WithoutScore' must derive from .* and define score"),
        ("Own", ["x=one"], r"x=one: input should be a valid integer.* \(reward 'own_rewards:Own'\)"),
        ("Own", ["y=1"], "reward 'own_rewards:Own' has no argument 'y'. It has: x, lost"),
        ("nothing", [], "module 'own_rewards' has no attribute 'nothing'"),
    ],
)
def test_a_wrong_function_class_or_argument_is_named(name: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_reward(ScoreOptions(reward=f"own_rewards:{name}", reward_arg=arguments))


def test_a_missing_module_is_named() -> None:
    with pytest.raises(UsageError, match="no module named 'nowhere_at_all'"):
        make_reward(ScoreOptions(reward="nowhere_at_all:function"))


def test_the_file_of_a_function_and_its_arguments_are_its_identity(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    identities = []
    for name, body in (("one", "1.0"), ("two", "1.0"), ("three", "2.0")):
        (tmp_path / f"source_{name}.py").write_text(f"def reward(completions): return [{body}]\n")
        identities.append(make_reward(ScoreOptions(reward=f"source_{name}:reward")).identity())
    assert identities[0]["source"] == identities[1]["source"] != identities[2]["source"]
    assert identities[0]["function"] == "source_one:reward"
    given = make_reward(ScoreOptions(reward="own_rewards:takes_any", reward_arg=["a=1"])).identity()
    other = make_reward(ScoreOptions(reward="own_rewards:takes_any", reward_arg=["a=2"])).identity()
    assert given != other


def test_a_decorated_function_is_identified_by_its_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_decorator.py").write_text(
        "import functools\ndef cached(f):\n    @functools.wraps(f)\n    def call(**k): return f(**k)\n    return call\n"
    )
    sources = []
    for name, value in (("decorated_one", 1), ("decorated_two", 2)):
        function = f"def reward(completions): return [{value}.0 for _ in completions]"
        (tmp_path / f"{name}.py").write_text(f"from a_decorator import cached\n@cached\n{function}\n")
        reward = make_reward(ScoreOptions(reward=f"{name}:reward"))
        sources.append(reward.identity()["source"])
        assert rewards(judge(f"{name}:reward", ["a"])) == [value]
    assert sources[0] != sources[1]


@pytest.mark.slow
def test_a_changed_file_does_not_mix_with_earlier_scores(groups: str, tmp_path: Path, monkeypatch: Any) -> None:
    """In two processes, as a user would: a module is read once per process."""
    command = [
        sys.executable,
        "-m",
        "grao_pipeline",
        "score",
        groups,
        str(tmp_path / "out"),
        "--reward",
        "mine:reward",
        "--json",
    ]
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", root)
    (tmp_path / "mine.py").write_text("def reward(completions): return [1.0 for _ in completions]\n")
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(first.stdout)["mean_reward"] == 1.0
    (tmp_path / "mine.py").write_text("def reward(completions): return [2.0 for _ in completions]\n")
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "the code of reward 'mine:reward' has changed." in second.stderr


def test_a_class_can_be_a_reward() -> None:
    assert judge("own_rewards:Own", ["a", "b"], "x=1") == [Judgement(None, "unparsable", "hm")] * 2


def test_too_few_judgements_fail_the_stage_and_nothing_is_written(groups: str, tmp_path: Path) -> None:
    result = tiny.grao("score", groups, tmp_path, "--reward", "own_rewards:Own", "--reward-arg", "lost=1")
    assert result.exit_code == 1
    assert "The reward returned 19 judgements for 20 sequences; it must return one per sequence" in result.stderr
    assert list(tmp_path.iterdir()) == []
