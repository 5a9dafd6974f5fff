"""`--processes`: the processes of one command write what one process writes, and end together."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from grao_pipeline.errors import UsageError
from grao_pipeline.models.devices import device_sets, gpu_sets, visible_gpus
from grao_pipeline.options import Processes, YamlSection
from grao_pipeline.pipeline import stage_named
from grao_pipeline.relay import RelayedProgress
from grao_pipeline.rounds.config.run_plan import Settings
from grao_pipeline.rounds.execute import with_resources
from grao_pipeline.rounds.executors.base import StageResources
from grao_pipeline.rounds.tasks import Task
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.storage.writer import PartShare
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.worker import work
from grao_pipeline.worker_protocol import REST
from tests import tiny
from tests.commands import Command

PATIENCE = 120.0
REWARD = """
import os, signal, time
from pathlib import Path

def reward(completions, prompts, log):
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if "5" in prompts[0][-1]["content"]:
        if os.environ.get("AT_FIVE") == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("AT_FIVE") == "wait":
            Path(f"{log}.five").write_text(str(os.getpid()))
            while True:
                time.sleep(0.05)
    return [float(len(text)) for text in completions]
"""


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def is_running(pid: int) -> bool:
    """A process that has ended and that nobody waited for does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def eight_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Eight parts of one group, and a reward `at_five:reward` in the current directory."""
    (tmp_path / "at_five.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path)
    rows = [tiny.group_row(str(index), ["a" * index, "b"]) for index in range(8)]
    return tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=1)


@pytest.mark.slow
def test_a_killed_process_ends_the_command_and_a_rerun_ends_like_one_process(
    eight_groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that judges group 5 is killed while it does; the other one is stopped, nothing is lost."""
    options = ["--reward", "at_five:reward", "--reward-arg", f"log={tmp_path}/calls", "--processes", 2]
    monkeypatch.setenv("AT_FIVE", "die")
    result = tiny.grao("score", eight_groups, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert "Process 2 of 2 was ended by SIGKILL: out of memory, or by hand. What was finished is kept" in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    committed = {path.name for path in (tmp_path / "out").glob("part-*.parquet")}
    assert {"part-000001.parquet", "part-000003.parquet"} <= committed
    monkeypatch.delenv("AT_FIVE")
    summary = tiny.grao_json("score", eight_groups, tmp_path / "out", *options)
    assert summary["parts_found"] == len(committed)
    assert summary["parts_made"] == 8 - len(committed)
    pids = (tmp_path / "calls").read_text().split()
    assert len(pids) == 8 + 1  # group 5 twice
    assert len(set(pids) - {str(os.getpid())}) >= 2
    tiny.grao_json("score", eight_groups, tmp_path / "alone", *options[:-2])
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "alone")


@pytest.mark.slow
def test_the_processes_die_with_the_one_that_started_them(eight_groups: str, tmp_path: Path) -> None:
    options = ["--reward", "at_five:reward", "--reward-arg", f"log={tmp_path}/calls"]
    command = Command(
        *("score", eight_groups, tmp_path / "out", *options, "--processes", 2),
        environment={**os.environ, "AT_FIVE": "wait"},
    )
    waiting = tmp_path / "calls.five"
    end = time.monotonic() + PATIENCE
    while not waiting.exists() or not waiting.read_text():
        assert command.poll() is None, command.written("stderr")
        assert time.monotonic() < end
        time.sleep(0.02)
    command.kill()
    command.wait()
    pids = {int(pid) for pid in (tmp_path / "calls").read_text().split()}
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.02)
    summary = tiny.grao_json("score", eight_groups, tmp_path / "out", *options)
    assert summary["parts_found"] >= 2
    tiny.grao_json("score", eight_groups, tmp_path / "alone", *options)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "alone")


@pytest.mark.slow
def test_a_stop_signal_reaches_all_processes_and_is_one_message(eight_groups: str, tmp_path: Path) -> None:
    options = ["--reward", "at_five:reward", "--reward-arg", f"log={tmp_path}/calls", "--processes", 2]
    command = Command(
        *("score", eight_groups, tmp_path / "out", *options), environment={**os.environ, "AT_FIVE": "wait"}
    )
    end = time.monotonic() + PATIENCE
    while not (tmp_path / "calls.five").exists():
        assert command.poll() is None, command.written("stderr")
        assert time.monotonic() < end
        time.sleep(0.02)
    command.send_signal(signal.SIGTERM)
    _, stderr = command.communicate()
    assert command.returncode == 1
    assert stderr.splitlines()[-1].startswith("Error: Stopped by SIGTERM. What was finished is kept")
    assert not any(is_running(int(pid)) for pid in (tmp_path / "calls").read_text().split())


@pytest.mark.slow
def test_an_error_of_a_process_is_the_error_of_the_command(eight_groups: str, tmp_path: Path) -> None:
    """Here of one that only the processes meet: their reward's file cannot be written."""
    options = ["--reward", "at_five:reward", "--reward-arg", f"log={tmp_path}/no/such/calls", "--processes", 2]
    result = tiny.grao("score", eight_groups, tmp_path / "out", *options)
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert [error.startswith("Error: Reward 'at_five:reward' failed on all") for error in errors] == [True]
    assert not list(tmp_path.glob("out/part-*"))


@pytest.mark.slow
def test_two_processes_sample_and_train_what_one_does(
    model: Path, prompts: str, groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The groups byte for byte, the weights within 1e-5 (gloo): a step has its groups in two sums. A finished model is
    found without starting them."""
    options = ["--engine", "transformers", "--samples", 4, "--max-new-tokens", 12, "--prompts-per-part", 4]
    sampled = tmp_path / "groups"
    arguments = ("generate", prompts, sampled, "--model", model, *options, "--temperature", 1.0)
    summary = tiny.grao_json(*arguments, "--processes", 2)
    assert (summary["parts_made"], summary["samples"], summary["new_samples"]) == (3, 40, 40)
    assert bytes_of(sampled) == bytes_of(Path(groups))
    tiny.grao_json("score", sampled, tmp_path / "scores", "--reward", "length", "--reward-arg", "target=9")
    tiny.grao_json("advantages", sampled, tmp_path / "advantages", "--scores", tmp_path / "scores")
    train = ("--model", model, "--groups-per-step", 4, "--learning-rate", 1e-3, "--device", "cpu")
    weights = []
    for count in (1, 2):
        out = tmp_path / f"model-{count}"
        summary = tiny.grao_json("train", sampled, tmp_path / "advantages", out, *train, "--processes", count)
        assert summary["ranks"] == count
        weights.append(load_file(out / "model.safetensors"))
    assert all((weights[0][name] - tensor).abs().max() < 1e-5 for name, tensor in weights[1].items())
    monkeypatch.delattr("grao_pipeline.training.train.train_in_processes")
    found = tiny.grao_json("train", sampled, tmp_path / "advantages", tmp_path / "model-1", *train, "--processes", 2)
    assert found["was_complete"]


def test_shares_of_a_share_are_disjoint_and_complete() -> None:
    share = PartShare.parse("1/3")
    assert share is not None
    halves = share.split(2)
    assert [str(half) for half in halves] == ["1/6", "4/6"]
    parts = [{part for part in range(30) if half.includes(part)} for half in halves]
    assert parts[0].isdisjoint(parts[1])
    assert parts[0] | parts[1] == {part for part in range(30) if share.includes(part)}


def test_on_a_cpu_processes_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert device_sets("auto", "cpu", 1) == [{}]
    assert device_sets(2, "cpu", 1) == [{"OMP_NUM_THREADS": str(max(1, cores // 2))}] * 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert device_sets(2, "auto", 0) == [{"OMP_NUM_THREADS": "3"}] * 2


@pytest.mark.parametrize(("given", "names"), [("", []), ("-1", []), ("2, 3", ["2", "3"]), ("MIG-1", ["MIG-1"])])
def test_visible_gpus_are_those_that_the_environment_names(
    given: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names


@pytest.mark.parametrize(
    ("processes", "per_process", "sets"),
    [("auto", 1, ["4", "5", "6", "7"]), ("auto", 2, ["4,5", "6,7"]), ("auto", 3, ["4,5,6"]), (2, 1, ["4", "5"])],
)
def test_each_process_gets_its_gpus(processes: Processes, per_process: int, sets: list[str]) -> None:
    assert gpu_sets(processes, per_process, ["4", "5", "6", "7"]) == sets


def test_too_few_gpus_are_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match="3 processes with 2 GPUs each need 6; 4 are visible") as caught:
        gpu_sets(3, 2, ["0", "1", "2", "3"])
    assert caught.value.option == "processes"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_processes_is_refused(text: str, groups: str, tmp_path: Path) -> None:
    result = tiny.grao("score", groups, tmp_path / "out", "--reward", "length", "--processes", text)
    assert result.exit_code == 2
    assert "--processes: expected auto, or a whole number of at least 1" in result.stderr


def test_the_resources_of_the_rounds_reach_the_stage_and_reserve_only_what_it_uses() -> None:
    """A verifier gets no GPU, whatever its stage may have; a training gets its ranks."""
    source = YamlSection("score", "rounds.yaml:8")
    verifier = Task("round-0/score-gsm8k", stage_named("score"), Settings(ScoreOptions(reward="gsm8k"), source))
    given = StageResources.model_validate({"processes": 2, "num_gpus": 2.0})
    resources, options = with_resources(verifier, given)
    assert (resources.num_gpus, options.resolved()["processes"]) == (0.0, 2)
    training = Task("round-0/train", stage_named("train"), Settings(TrainOptions(model="base"), source))
    resources, options = with_resources(training, given)
    assert (resources.num_gpus, options.resolved()["processes"]) == (2.0, 2)
    assert options.content() == training.options.content()


def test_a_worker_whose_asker_was_killed_with_an_answer_unread_ends() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(REST)
    theirs.sendall(b"an answer that nobody reads\n")
    ours.close()
    with theirs:
        work(theirs, stay=False)


def test_progress_without_a_receiver_is_lost(tmp_path: Path) -> None:
    progress = RelayedProgress(str(tmp_path / "nobody"))
    progress.note("lost")
    progress.close()
