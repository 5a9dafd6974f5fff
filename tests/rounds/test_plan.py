"""`grao rounds plan`: counts, estimates, and commands that do the loop's work without the loop."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from grao_pipeline.models.manifest import read_model_manifest
from grao_pipeline.scoring.judges.call_limits import calls_per_sequence
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.rounds.running import run


def write_config(directory: Path, model: Path, table: str, **changes: Any) -> Path:
    """Two rounds without evaluation: ten prompts, two samples, parts of three prompts."""
    config: dict[str, Any] = {
        "output": str(directory / "a run"),  # a space: the commands must be quoted
        "model": str(model),
        "rounds": 2,
        "prompts": {"train": table},
        "generate": {
            "engine": "transformers",
            "samples": 2,
            "max_new_tokens": 8,
            "temperature": 1.0,
            "prompts_per_part": 3,
        },
        "score": {"reward": "length", "reward_arg": ["target=12", "unit=characters"]},
        "train": {"learning_rate": 1e-3, "groups_per_step": 4, "epochs": 2},
        **changes,
    }
    path = directory / "rounds.yaml"
    path.write_text(yaml.safe_dump(config, width=1000))  # no line is broken, however long a path is
    return path


def plan(config: Path) -> dict[str, dict[str, Any]]:
    return {task["name"]: task for task in tiny.grao_json("rounds", "plan", config)["tasks"]}


def test_a_fresh_plan_counts_parts_and_bounds_the_tokens(tmp_path: Path, model: Path, prompts: str) -> None:
    config = write_config(tmp_path, model, prompts)
    tasks = plan(config)
    for number in (0, 1):
        generate, train = tasks[f"round-{number}/generate"], tasks[f"round-{number}/train"]
        assert (generate["parts_done"], generate["parts"]) == (0, 4)  # ten prompts, three in a part
        assert (generate["tokens"], generate["basis"]) == (160, "bound")  # 10 prompts × 2 samples × 8 tokens
        assert (train["parts"], train["tokens"]) == (6, None)  # ⌈10 / 4⌉ steps × 2 epochs; no prompt is tokenized yet
    totals = tiny.grao_json("rounds", "plan", config)["totals"]
    assert totals == {"tasks": 8, "tokens_to_sample": 320, "tokens_to_train": None, "judge_calls": 0}
    text = tiny.grao("rounds", "plan", config).stdout
    assert "tokens to sample: 320, tokens to train on: unknown yet (upper" in text


@pytest.mark.slow
def test_prompts_that_are_trained_and_evaluated_on_are_counted(tmp_path: Path, model: Path, prompts: str) -> None:
    half = tiny.write_table(tmp_path / "half", "prompts", open_table(prompts, "prompts").arrow().to_pylist()[:5])
    for train, held_out, share in [
        (prompts, prompts, "10 of 10"),
        (prompts, half, "5 of 5"),
        (half, prompts, "5 of 10"),
    ]:
        config = write_config(tmp_path, model, "", prompts={"train": train, "eval": held_out})
        (note,) = tiny.grao_json("rounds", "plan", config)["notes"]
        assert note.startswith(f"{share} prompts")
        assert note in tiny.grao("rounds", "plan", config).stdout
    assert tiny.grao_json("rounds", "plan", write_config(tmp_path, model, prompts))["notes"] == []


def test_what_depends_on_prompts_that_are_not_made_is_unknown(tmp_path: Path, model: Path) -> None:
    source = tmp_path / "questions.jsonl"
    source.write_text('{"prompt": "2+2?", "completion": "4"}\n')
    config = write_config(tmp_path, model, "", prompts={"source": str(source)})
    totals = tiny.grao_json("rounds", "plan", config)["totals"]
    assert totals == {"tasks": 9, "tokens_to_sample": None, "tokens_to_train": None, "judge_calls": None}
    text = tiny.grao("rounds", "plan", config).stdout
    assert "How much there is to sample, judge and train on is known once the prompts are made." in text


@pytest.mark.parametrize("key", ["train", "eval"])
def test_a_prompts_table_that_is_missing_or_of_another_kind_is_named_with_its_line(
    tmp_path: Path, model: Path, prompts: str, key: str
) -> None:
    groups = tiny.write_table(tmp_path / "groups", "groups", [tiny.group_row("question", ["a"])])
    for path, message in [(str(tmp_path / "nowhere"), "does not exist"), (groups, "is a directory of kind 'groups'")]:
        config = write_config(tmp_path, model, "", prompts={"train": prompts, "eval": prompts, key: path})
        refused = tiny.grao("rounds", "plan", config)
        line = next(number for number, text in enumerate(config.read_text().splitlines(), 1) if path in text)
        assert f"rounds.yaml:{line}: prompts.{key}: {path} {message}" in refused.stderr


@pytest.mark.parametrize("source", ["nothing.jsonl", "./data/questions", "~/nosuch.csv"])
def test_a_plan_refuses_a_local_source_that_is_missing(tmp_path: Path, model: Path, source: str) -> None:
    """A name such as openai/gsm8k may be a data set of the hub: only `grao prompts` can tell."""
    config = write_config(tmp_path, model, "", prompts={"source": source})
    result = tiny.grao("rounds", "plan", config)
    assert (result.exit_code, "Traceback" in result.stderr) == (1, False)
    assert f"rounds.yaml:10: prompts.source: {source}: no such file or directory." in result.stderr
    assert tiny.grao("rounds", "plan", write_config(tmp_path, model, "", prompts={"source": "a/b"})).exit_code == 0


def test_a_model_that_does_not_exist_is_named_before_anything_runs(
    tmp_path: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for verb, path in (("plan", "models/nosuch"), ("plan", "/models/nosuch"), ("run", "/models/nosuch")):
        config = write_config(tmp_path, Path(path), prompts, prompts={"source": "nothing.jsonl"})
        result = tiny.grao("rounds", verb, config)
        assert result.exit_code == 1
        line = next(number for number, text in enumerate(config.read_text().splitlines(), 1) if "model: " in text)
        assert f"rounds.yaml:{line}: model: Model '{path}': there is no such directory." in result.output


def test_a_judge_is_asked_about_every_sequence_in_both_orders(tmp_path: Path, model: Path, prompts: str) -> None:
    score = {"reward": "judge-pairwise", "reward_arg": [f"model={model}"]}
    tasks = plan(write_config(tmp_path, model, prompts, score=score))
    assert tasks["round-0/score-judge-pairwise"]["judge_calls"] == 10 * 3 * 2  # two samples and the reference


@pytest.mark.parametrize(
    ("reward", "arguments", "calls"),
    [
        ("length", [], 0),
        ("judge-rubric", [], 1),
        ("judge-pairwise", ["swap=false"], 1),
        ("judge-win-rate", [], 8),  # four opponents, two orders
        ("judge-win-rate", ["opponents=all", "swap=false"], 7),
        ("judge-win-rate", ["opponents=20"], 14),  # there are seven others
    ],
)
def test_calls_per_sequence_of_a_group_of_eight(reward: str, arguments: list[str], calls: int) -> None:
    assert calls_per_sequence(ScoreOptions(reward=reward, reward_arg=arguments), 8) == calls


@pytest.mark.slow
def test_the_printed_commands_do_what_the_loop_would(tmp_path: Path, model: Path, prompts: str) -> None:
    config = write_config(tmp_path, model, prompts)
    for number in (0, 1):
        lines = tiny.grao("rounds", "plan", config, "--commands").stdout.splitlines()
        commands = [shlex.split(line) for line in lines if not line.startswith("#")]
        assert [command[:2] for command in commands] == [
            ["grao", stage] for stage in ("generate", "score", "advantages", "train")
        ]
        for command in commands:
            assert tiny.grao(*command[1:]).exit_code == 0
        tasks = plan(config)
        assert {t["state"] for name, t in tasks.items() if name.startswith(f"round-{number}/")} == {"done"}
        train = tasks[f"round-{number}/train"]
        assert train["parts_done"] == train["parts"]
    assert run(config)["made"] == []
    nothing = tiny.grao("rounds", "plan", config, "--commands").stdout
    assert nothing == "# Every task is done: no command is left.\n"


@pytest.mark.slow
def test_half_done_tables_are_counted_and_lengths_are_those_seen(tmp_path: Path, model: Path, prompts: str) -> None:
    config = write_config(tmp_path, model, prompts, rounds=1)
    command = shlex.split(tiny.grao("rounds", "plan", config, "--commands").stdout.splitlines()[0])
    made = tiny.grao_json(*command[1:], "--worker", "0/2")  # parts 0 and 2, of three prompts each
    generate = plan(config)["round-0/generate"]
    assert (generate["state"], generate["parts_done"], generate["parts"]) == ("to do", 2, 4)
    assert (generate["tokens"], generate["basis"]) == (round(0.5 * 20 * made["tokens"] / 12), "seen")


@pytest.mark.slow
def test_the_tokens_of_a_training_are_estimated_as_it_counts_them(tmp_path: Path, model: Path, prompts: str) -> None:
    """Nine of the ten groups have a reference; each sequence counts with its prompt, in each of two epochs. The prompt
    without a reference is shorter than the mean."""
    changes: dict[str, Any] = {"rounds": 1, "advantages": {"keep_zero_variance": True}}
    run(write_config(tmp_path, model, prompts, **changes))
    trained = read_model_manifest(tmp_path / "a run" / "round-0" / "train")
    assert trained is not None
    again = write_config(tmp_path, model, prompts, **changes, store=str(tmp_path / "a run" / "store"), preset="stable")
    task = plan(again)["round-0/train"]
    assert (task["state"], task["basis"]) == ("waits", "seen")
    assert task["tokens"] == pytest.approx(trained.summary["tokens"], rel=0.01)


@pytest.mark.slow
def test_plan_runs_without_torch(tmp_path: Path, model: Path, prompts: str) -> None:
    config = write_config(tmp_path, model, prompts)
    code = f"""
import sys
from grao_pipeline.rounds.overview import plan_rounds
plan_rounds({str(config)!r})
print([name for name in ("torch", "transformers", "vllm", "ray", "datasets") if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_references_are_the_same_task_in_every_round_and_come_before_the_sampling(
    tmp_path: Path, model: Path, prompts: str
) -> None:
    tasks = list(plan(write_config(tmp_path, model, prompts, references={"from": prompts})))
    assert [name for name in tasks if "references" in name] == ["round-0/references"]
    assert tasks.index("round-0/references") < tasks.index("round-0/generate")
