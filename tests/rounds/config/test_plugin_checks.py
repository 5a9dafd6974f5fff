"""What only a plug-in can refuse is refused by `grao rounds plan` and `run`, before the first task, with its line."""

import subprocess
import sys
from pathlib import Path

import pytest

from grao_pipeline.errors import GraoError, MissingDependency
from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.rounds.config.plugin_checks import check_plugins
from grao_pipeline.rounds.overview import forecast_rounds
from grao_pipeline.rounds.run import run_rounds
from grao_pipeline.tracking.base import Tracker

FILE = """\
output: run
model: no/such-model
rounds: 2
prompts: {train: no/such-table}
generate:
  engine: transformers
  samples: 4
score: {reward: gsm8k}
train:
  epochs: 1
evaluate:
  generate:
    temperature: 0.5
"""


class NotInstalled(Tracker):
    """A tracker whose package does not exist."""

    package = "no_such_package"


def write(directory: Path, old: str, new: str) -> str:
    path = directory / "rounds.yaml"
    path.write_text(FILE.replace(old, new))
    return str(path)


@pytest.mark.slow  # imports torch, the engines and the objectives
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "epochs: 1",
            "objective_arg: [explor=1]",
            "10: train.objective_arg: objective 'grao' has no argument 'explor'. Did you mean exploration?",
        ),
        (
            "epochs: 1",
            "objective: grpo\n  objective_arg: {clip_low: 0.2, clip: 1}",
            "11: train.objective_arg: objective 'grpo' has no argument 'clip'.",
        ),
        ("epochs: 1", "objective: dr-grpo", "9: train.objective_arg: objective 'dr-grpo' needs max_completion_length"),
        (
            "epochs: 1",
            "objective: dpo\n  correction: truncated-is\n  ratio_cap: 1",
            "11: train.correction: truncated-is does not apply to objective 'dpo'",
        ),
        ("epochs: 1", "objective: grpo\n  beta: 0.7", "11: train.beta: 0.7 has no effect on objective 'grpo'."),
        ("epochs: 1", "objective: grpo\n  lambda: 0.7", "11: train.lambda: 0.7 has no effect on objective 'grpo'."),
        (
            "epochs: 1",
            "objective: distillation\n  objective_arg: [teacher=big]",
            "11: train.objective_arg: objective 'distillation' compares with 'big': give",
        ),
        (
            "train:\n",
            "logprobs: {name: big, model: no/other}\ntrain:\n",
            "10: train.logprobs: objective 'grao' does not compare with 'big'.",
        ),
        ("epochs: 1", "log_to: [tensorbord]", "10: train.log_to: unknown tracker 'tensorbord'. Did you mean tensorb"),
        ("samples: 4", "engine_arg: [foo=1]", "7: generate.engine_arg: engine 'transformers' has no argument 'foo'."),
        ("samples: 4", "sampling_arg: [foo=1]", "7: generate.sampling_arg: engine 'transformers' has no argument"),
        (
            "temperature: 0.5",
            "engine_arg: {foo: 1}",
            "13: evaluate.generate.engine_arg: engine 'transformers' has no argument 'foo'.",
        ),
        (
            "evaluate:\n",
            "overrides:\n  1: {generate: {engine_arg: [foo=1]}}\nevaluate:\n",
            "12: generate.engine_arg: engine 'transformers' has no argument 'foo'.",
        ),
    ],
)
def test_plan_and_run_refuse_what_a_later_task_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    """Neither the model nor the prompts of the file exist: nothing is looked for, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    config = write(tmp_path, old, new)
    for command in (forecast_rounds, run_rounds):
        with pytest.raises(GraoError) as refused:
            command(config)
        assert str(refused.value).replace(f"{tmp_path}/", "").startswith(f"rounds.yaml:{message}")
    assert [path.name for path in tmp_path.iterdir()] == ["rounds.yaml"]


def test_a_tracker_without_its_package_is_refused_with_its_section(tmp_path: Path) -> None:
    plan = load_plan(write(tmp_path, "epochs: 1", f"log_to: ['{__name__}:NotInstalled']"))
    with pytest.raises(MissingDependency, match=r"rounds\.yaml:9: train: This needs the package 'no_such_package'"):
        check_plugins(plan)


@pytest.mark.slow
def test_rounds_are_planned_where_torch_is_not_installed(tmp_path: Path) -> None:
    """The stages may run elsewhere: what needs torch is left to them."""
    config = write(tmp_path, "epochs: 1", "objective: grpo\n  objective_arg: [kl=0.1]")
    Path(config).write_text(Path(config).read_text().replace("samples: 4", "top_k: 4"))
    code = f"""
import sys
sys.modules["torch"] = None
from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.rounds.config.plugin_checks import check_plugins
check_plugins(load_plan({config!r}))
print("planned")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.stdout == "planned\n", process.stderr
