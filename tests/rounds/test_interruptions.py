"""Stop signals to `grao rounds run`, and what its status tells. Kills are in test_rounds.py."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import tiny
from tests.rounds.running import command, run
from tests.rounds.test_plan import plan, write_config


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_names_the_stage_and_keeps_what_is_finished(
    tmp_path: Path, model: Path, prompts: str, number: signal.Signals
) -> None:
    generate = {"engine": "transformers", "samples": 4, "max_new_tokens": 200, "prompts_per_part": 1, "batch_size": 1}
    config = write_config(tmp_path, model, prompts, generate=generate, rounds=1)
    with subprocess.Popen(command(config), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "part 0 committed" in line:
                os.kill(process.pid, number)
                break
        stderr = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "Stopped by SIGTERM." in stderr  # the stage's own last words
    assert f"Stopped by {number.name}. The stage was round-0/generate" in stderr
    assert "Run the same command again" in stderr
    task = plan(config)["round-0/generate"]
    assert task["state"] == "to do"
    assert 1 <= task["parts_done"] < 10


def test_status_tells_what_each_stage_did_took_and_cost(tmp_path: Path, model: Path, prompts: str) -> None:
    config = write_config(tmp_path, model, prompts, rounds=1)
    run(config)
    generate, score, _, train = tiny.grao_json("rounds", "status", config)["tasks"]
    assert generate["did"]["groups"] == 10
    assert generate["did"]["samples"] == 20
    assert 0 < generate["cost"]["tokens_sampled"] <= 160
    assert generate["seconds"] > 0
    assert score["did"]["references_scored"] == 9  # one of the ten prompts has no reference
    assert 0 < score["cost"]["judgements"] <= 29
    assert train["did"]["steps"] == 6
    assert train["cost"]["tokens_trained"] > 0
    assert "tokens sampled" in tiny.grao("rounds", "status", config).stdout
