"""Stop signals to `grao rounds run`, and what its status tells. Kills are in test_run.py."""

import json
import signal
import time
from pathlib import Path

import pytest

from grao_pipeline.errors import Interrupted
from grao_pipeline.options import YamlSection
from grao_pipeline.pipeline import stage_named
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.rounds.config.run_plan import Settings
from grao_pipeline.rounds.execute import Runner
from grao_pipeline.rounds.executors.base import Result, StageResources
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.tasks import Task
from grao_pipeline.training.options import TrainOptions
from tests import tiny
from tests.commands import Command
from tests.rounds.running import run
from tests.rounds.test_plan import plan, write_config


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_names_the_stage_and_keeps_what_is_finished(
    tmp_path: Path, model: Path, prompts: str, number: signal.Signals
) -> None:
    generate = {"engine": "transformers", "samples": 4, "max_new_tokens": 200, "prompts_per_part": 1, "batch_size": 1}
    config = write_config(tmp_path, model, prompts, generate=generate, rounds=1)
    process = Command("rounds", "run", config)
    assert process.wait_for("part 0 committed")
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "Stopped by SIGTERM." in stderr  # the stage's own last words
    assert stderr.count("Error: ") == 1
    assert f"Error: Stopped by {number.name}. The stage was round-0/generate" in stderr
    assert "Run the same command again" in stderr
    task = plan(config)["round-0/generate"]
    assert task["state"] == "to do"
    assert 1 <= task["parts_done"] < 10


@pytest.mark.slow
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


class StoppedOnce:
    """Commands that a signal stops the first time."""

    def __init__(self) -> None:
        self.is_stopped = False

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        time.sleep(0.02)
        if not self.is_stopped:
            self.is_stopped = True
            raise Interrupted("Stopped by SIGINT.")
        return Result(0, json.dumps({"notes": ["the reward is constant"]}).encode())

    def close(self) -> None:
        pass


def test_the_time_of_a_stopped_run_counts_and_notes_are_printed(tmp_path: Path) -> None:
    settings = Settings(TrainOptions(model="m"), YamlSection("train", "rounds.yaml:1"))
    (tmp_path / "train").mkdir()
    task = Task("round-0/train", stage_named("train"), settings, ("g", "a"), tmp_path / "train" / "f")
    progress = RecordedProgress()
    with StopSignals() as signals:
        runner = Runner(StoppedOnce(), {}, signals, progress)
        with pytest.raises(Interrupted):
            runner(task)
        assert runner(task)
    receipt = Receipts(progress).of(task)
    assert receipt is not None
    assert receipt.seconds >= 0.04
    assert "note: the reward is constant" in progress.notes
