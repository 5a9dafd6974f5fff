"""Sampling on a real local Ray cluster: the same tables as without it, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import InputError, Interrupted
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import RecordedProgress
from tests import tiny

pytestmark = pytest.mark.ray

PATIENCE = 120.0


@pytest.fixture(scope="module")
def many_prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [tiny.prompt_row(f"Say the number {index}.", f"It is {index}.") for index in range(40)]
    return tiny.write_table(tmp_path_factory.mktemp("many") / "table", "prompts", rows)


def options(model: Path, **changes: Any) -> GenerateOptions:
    chosen = {"engine": "transformers", "samples": 3, "max_new_tokens": 24, "temperature": 1.0, "prompts_per_part": 4}
    return GenerateOptions(**{"model": str(model), "batch_size": 2, **chosen, **changes})


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path, many_prompts: str) -> dict[str, bytes]:
    """The table as one local engine makes it."""
    out = tmp_path_factory.mktemp("undisturbed") / "groups"
    generate_groups(many_prompts, str(out), options(model))
    return bytes_of(out)


def actor_processes() -> list[int]:
    """Ids of the processes of the actors that hold an engine."""
    lines = subprocess.check_output(["ps", "-e", "-ww", "-o", "pid=,args="], text=True).splitlines()
    return [int(line.split()[0]) for line in lines if "ray::EngineActor" in line]


def test_two_actors_write_the_table_of_one_local_engine(
    ray_cluster: Any, model: Path, many_prompts: str, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "groups"
    summary = generate_groups(many_prompts, str(out), options(model, executor="ray", actors=2))
    assert (summary.parts_made, summary.samples) == (10, 120)
    assert bytes_of(out) == undisturbed


def test_a_killed_actor_costs_only_its_requests_in_flight(
    ray_cluster: Any, model: Path, many_prompts: str, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "groups"
    notices: list[str] = []
    killed: list[int] = []

    def kill_one_when_the_second_part_is_there(message: str) -> None:
        notices.append(message)
        if len(list(out.glob("part-*.parquet"))) >= 2 and not killed:
            killed.append(actor_processes()[0])
            os.kill(killed[0], signal.SIGKILL)

    chosen = options(model, executor="ray", actors=2)
    summary = generate_groups(many_prompts, str(out), chosen, RecordedProgress(kill_one_when_the_second_part_is_there))
    assert killed
    assert any("An actor died; starting another" in message for message in notices)
    assert (summary.parts_made, summary.samples) == (10, 120)  # no group was counted twice
    assert bytes_of(out) == undisturbed


def test_an_engines_error_in_an_actor_is_the_commands_error(
    ray_cluster: Any, model: Path, many_prompts: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "model"
    damaged.mkdir()
    for path in model.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    config = json.loads((model / "config.json").read_text())
    narrow = {**config, "intermediate_size": config["intermediate_size"] // 2}
    (damaged / "config.json").write_text(json.dumps(narrow))  # what only loading the weights tells
    with pytest.raises(InputError, match=rf"The weights in {damaged} do not fit its config\.json"):
        generate_groups(many_prompts, str(tmp_path / "groups"), options(damaged, executor="ray", actors=2))


def test_a_signal_while_ray_waits_is_an_interruption(ray_cluster: Any) -> None:
    def sleep() -> None:
        time.sleep(PATIENCE)

    asleep = ray_cluster.remote(num_cpus=0)(sleep).remote()

    def waiting() -> Iterator[None]:
        while True:
            ray_cluster.wait([asleep], timeout=0.01, fetch_local=False)
        yield

    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with StopSignals() as signals, pytest.raises(Interrupted, match="Stopped by SIGTERM"):
        next(signals.interruptible(waiting()))
    ray_cluster.cancel(asleep, force=True)


def test_the_command_starts_ray_and_sigterm_saves_finished_groups(
    model: Path, many_prompts: str, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out, log = tmp_path / "groups", tmp_path / "log"
    arguments = [many_prompts, str(out), *tiny.flags("generate", options(model, executor="ray", actors=2))]
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "grao_pipeline", "generate", *arguments], stderr=file)
    end = time.monotonic() + PATIENCE
    while len(list(out.glob("part-*.parquet"))) < 2 and time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    process.terminate()
    assert process.wait(PATIENCE) == 1
    assert "Stopped by SIGTERM." in log.read_text()
    assert "Traceback" not in log.read_text()
    generate_groups(many_prompts, str(out), options(model))
    assert bytes_of(out) == undisturbed
