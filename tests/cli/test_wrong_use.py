"""Every command's wrong use ends in one clear message and exit code 1 or 2, with no traceback."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import tiny


class Files(NamedTuple):
    """Good inputs, and inputs that are wrong in one way each."""

    model: Path
    other_model: Path
    prompts: str
    groups: str
    scores: str
    advantages: str
    other_groups: str
    damaged: str
    incomplete: str
    rows: Path
    broken_rows: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, model: Path, prompts: str, groups: str) -> Files:
    root = tmp_path_factory.mktemp("files")
    tiny.grao_json("score", groups, root / "scores", "--reward", "length", "--reward-arg", "target=3")
    tiny.grao_json("advantages", groups, root / "advantages", "--scores", root / "scores")
    sampling = ["--engine", "transformers", "--samples", 2, "--max-new-tokens", 4, "--seed", 5]
    tiny.grao_json("generate", prompts, root / "other", "--model", model, *sampling)
    shutil.copytree(groups, root / "damaged")
    part = root / "damaged" / "part-000001.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 0xFF
    part.write_bytes(data)
    shutil.copytree(groups, root / "incomplete")
    (root / "incomplete" / ".manifest.parquet").unlink()
    rows = root / "rows.jsonl"
    rows.write_text('{"prompt": "Say hi.", "completion": "hi"}\n')
    broken = root / "broken.jsonl"
    broken.write_text('{"prompt": "Say hi.", "completion": "hi"}\n{"prompt": \n')
    other_model = tiny.make_model(root / "other_model", seed=1)
    names = ("scores", "advantages", "other", "damaged", "incomplete")
    made = {name: str(root / name) for name in names}
    return Files(
        model,
        other_model,
        prompts,
        groups,
        made["scores"],
        made["advantages"],
        made["other"],
        made["damaged"],
        made["incomplete"],
        rows,
        broken,
    )


# (command line with {fields} of Files and {out}, exit code, what the message must hold)
CASES = [
    # missing files
    ("prompts nothing.jsonl {out}", 1, "nothing.jsonl"),
    ("generate nothing {out} --model {model}", 1, "nothing does not exist"),
    ("generate {prompts} {out} --model ./nothing", 1, "'./nothing': there is no such directory"),
    ("score nothing {out} --reward length --reward-arg target=3", 1, "nothing does not exist"),
    ("advantages {groups} {out} --scores nothing", 1, "nothing does not exist"),
    ("train {groups} nothing {out} --model {model}", 1, "nothing does not exist"),
    ("evaluate nothing {scores} {out}", 1, "nothing does not exist"),
    ("inspect nothing", 1, "nothing does not exist"),
    ("rounds run nothing.yaml", 1, "Cannot read nothing.yaml: No such file or directory."),
    # wrong tables
    (
        "generate {groups} {out} --model {model}",
        1,
        "is a directory of kind 'groups'; this needs a table of kind 'prompts'",
    ),
    ("score {scores} {out} --reward length --reward-arg target=3", 1, "is a directory of kind 'scores'"),
    (
        "advantages {groups} {out} --scores {groups}",
        1,
        "is a directory of kind 'groups'; this needs a table of kind 'scores'",
    ),
    (
        "train {groups} {scores} {out} --model {model}",
        1,
        "is a directory of kind 'scores'; this needs a table of kind 'advantages'",
    ),
    ("evaluate {scores} {groups} {out}", 1, "is a directory of kind 'scores'; this needs a table of kind 'groups'"),
    ("generate {prompts} {out} --model {groups}", 1, "holds a table of kind 'groups', not a model"),
    # damaged and incomplete tables
    ("score {damaged} {out} --reward length --reward-arg target=3", 1, "part-000001.parquet is damaged"),
    ("inspect {damaged}", 1, "part-000001.parquet is damaged"),
    ("score {incomplete} {out} --reward length --reward-arg target=3", 1, "is incomplete: it has parts (3)"),
    ("prompts {broken_rows} {out}", 1, "broken.jsonl"),
    # unknown columns, options and names
    ("prompts {rows} {out} --map color=prompt", 2, "color"),
    ("prompts {rows} {out} --format hh", 2, "chosen"),
    ("prompts {rows} {out} --color red", 2, "No such option"),
    ("score {groups} {out} --reward beauty", 2, "--reward: unknown reward 'beauty'. Built in: answer-likelihood"),
    ("score {groups} {out} --reward no_such_module:f", 2, "no module named 'no_such_module'"),
    ("score {groups} {out} --reward json:beauty", 2, "has no attribute 'beauty'"),
    (
        "score {groups} {out} --reward length --reward-arg target=3 --reward-arg size=3",
        2,
        "has no argument 'size'. It has: target, unit.",
    ),
    ("score {groups} {out} --reward length --reward-arg target", 2, "expected key=value"),
    ("score {groups} {out} --reward regex", 2, "--reward-arg: reward 'regex' needs pattern=…"),
    ("score {groups} {out} --reward regex --reward-arg pattern=(", 2, "not a regular expression"),
    ("score {groups} {out} --reward exact-match --reward-arg field=color", 1, "metadata has no 'color'"),
    ("advantages {groups} {out} --scores {scores} --estimator beauty", 2, "--estimator: unknown estimator 'beauty'"),
    (
        "train {groups} {advantages} {out} --model {model} --objective beauty",
        2,
        "--objective: unknown objective 'beauty'",
    ),
    # values out of range
    ("generate {prompts} {out} --model {model} --samples 0", 2, "--samples: input should be"),
    ("generate {prompts} {out} --model {model} --temperature -1", 2, "--temperature: input should be"),
    ("generate {prompts} {out} --model {model} --engine transformers --max-model-len 9999", 2, "positions end at 256"),
    ("advantages {groups} {out} --scores {scores}=heavy", 2, "--scores: the weight 'heavy' is not a number"),
    ("train {groups} {advantages} {out} --model {model} --lambda -1", 2, "--lambda: input should be"),
    # contradictory options
    ("evaluate {groups} {scores} {out} --base-groups {groups}", 2, "give both or neither"),
    (
        "advantages {groups} {out} --scores {scores} --scores {scores}",
        2,
        "second table with the reward name 'length'",
    ),
    (
        "generate {prompts} {out} --model {model} --engine transformers --engine-arg a=b",
        2,
        "engine 'transformers' has no argument 'a'. It has: none.",
    ),
    ("generate {prompts} {groups} --model {model} --engine transformers --samples 3", 1, "samples was 4 and is now 3"),
    ("score {groups} {scores} --reward length --reward-arg target=9", 1, "target was 3 and is now 9"),
    (
        "score {groups} {advantages} --reward length --reward-arg target=3",
        1,
        "already holds a table of kind 'advantages'",
    ),
    # tables that do not belong together
    ("advantages {other_groups} {out} --scores {scores}", 1, "holds the scores of groups"),
    ("train {other_groups} {advantages} {out} --model {model}", 1, "holds the advantages of groups"),
    ("evaluate {other_groups} {scores} {out}", 1, "holds the scores of groups"),
    ("train {groups} {advantages} {out} --model {other_model}", 1, "was sampled by policy"),
]


@pytest.mark.parametrize(("line", "code", "message"), CASES, ids=[case[0].replace(" ", "_") for case in CASES])
def test_wrong_use_is_answered_with_one_clear_message(
    files: Files, tmp_path: Path, line: str, code: int, message: str
) -> None:
    arguments = line.format(**files._asdict(), out=tmp_path / "out").split(" ")
    result = tiny.grao(*arguments)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)  # not an exception that would show as a traceback
    assert message in result.stderr
    assert result.stderr.count("Error:") == 1
    assert not list((tmp_path / "out").rglob(".manifest.parquet"))


@pytest.mark.slow
def test_a_message_comes_without_traceback_in_a_real_process(files: Files, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "grao_pipeline",
        "score",
        files.damaged,
        str(tmp_path / "out"),
        "--reward",
        "gsm8k",
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stdout == ""
    assert "Error: " in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    code = """
import sys
sys.modules["datasets"] = None  # as if it were not installed
from grao_pipeline.cli.main import main
main(["prompts", "owner/name", "out"], prog_name="grao")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "pip install 'grao-pipeline[prompts]'" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_json_puts_one_object_on_standard_output_and_progress_on_standard_error(files: Files, tmp_path: Path) -> None:
    options = ["--reward", "length", "--reward-arg", "target=3", "--json"]
    command = [sys.executable, "-m", "grao_pipeline", "score", files.groups, str(tmp_path / "out"), *options]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(process.stdout)["statuses"] == {"ok": 40}
    assert "part 0 committed" in process.stderr


def test_a_value_of_any_length_is_quoted_in_a_message_of_bounded_length(tmp_path: Path) -> None:
    result = tiny.grao("train", "groups", "advantages", tmp_path / "out", "--beta", "x" * 100_000)
    assert result.exit_code == 2
    assert "Invalid value for '--beta'" in result.output
    assert len(result.output) < 4_000
