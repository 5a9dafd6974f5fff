"""Rounds whose stages stay, against the same rounds with every stage opened anew."""

from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources
from tests.commands import Command
from tests.rounds.executors.counted_engines import take_starts
from tests.rounds.running import CommandsHere, run
from tests.rounds.test_plan import write_config
from tests.rounds.test_run import contents

HERE = "tests.rounds.executors.counted_engines"
VLLM_ARGUMENTS = ["max_num_seqs=16", "kv_cache_memory_bytes=16777216"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_one_engine_samples_for_all_rounds_what_fresh_engines_do_also_after_a_kill(
    engine: str, tmp_path: Path, model: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model's head is tied to its embedding: vLLM's reload alone would leave it the old head on a CPU."""
    monkeypatch.setenv("ENGINE_STARTS", str(tmp_path / "starts"))
    monkeypatch.setenv("DEADLY_CALL", str(tmp_path / "deadly"))
    (tmp_path / "deadly").write_text("0")
    generate: dict[str, Any] = {"engine": f"{HERE}:Counted{engine.capitalize()}", "samples": 2, "max_new_tokens": 8}
    generate |= {"engine_arg": VLLM_ARGUMENTS} if engine == "vllm" else {}
    score = {"reward": f"{HERE}:deadly_length", "use_cache": False}
    changes = {"rounds": 3, "generate": generate, "score": score}
    configs = []
    for name in ("apart", "resident"):
        (tmp_path / name).mkdir()
        configs.append(write_config(tmp_path / name, model, prompts, **changes))
    run(configs[0])
    assert take_starts() == 3

    (tmp_path / "deadly").write_text("3")  # one call a table: that of the last round
    killed = Command("rounds", "run", configs[1])
    _, stderr = killed.communicate()
    assert killed.returncode == 1
    assert "round-2/score-deadly_length failed (exit code -9)" in stderr
    assert "Traceback" not in stderr
    assert take_starts() == 1
    run(configs[1])
    assert take_starts() == 0  # all was sampled before the kill
    assert_equal_outputs(*configs)


@pytest.mark.slow
def test_two_processes_of_a_stage_keep_their_engines_for_all_rounds(
    tmp_path: Path, model: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write what one process writes that opens its engine anew."""
    monkeypatch.setenv("ENGINE_STARTS", str(tmp_path / "starts"))
    generate = {"engine": f"{HERE}:CountedTransformers", "samples": 2, "max_new_tokens": 8, "prompts_per_part": 3}
    changes: dict[str, Any] = {"rounds": 3, "generate": generate}
    two = {"generate": {"processes": 2}, "score": {"processes": 2}}
    configs = []
    for name, resources in (("one", {}), ("two", two)):
        (tmp_path / name).mkdir()
        configs.append(write_config(tmp_path / name, model, prompts, **changes, resources=resources))
    run(configs[0])
    assert take_starts() == 3
    assert Command("rounds", "run", configs[1]).wait() == 0
    assert take_starts() == 2
    assert_equal_outputs(*configs)


class RanksAnew(CommandsHere):
    """Trainings in two new processes."""

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        if arguments[0] != "train":
            return super().run(arguments, resources, signals)
        ranks = Command(*arguments, ranks=2)
        stdout, stderr = ranks.communicate()
        assert ranks.returncode == 0, stderr
        return Result(0, stdout.encode())


@pytest.mark.slow
def test_the_ranks_of_a_training_stay_for_all_rounds_unless_one_is_killed(
    tmp_path: Path, model: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They train what ranks do that are started anew for every round."""
    processes = tmp_path / "processes"
    processes.mkdir()
    monkeypatch.setenv("OBJECTIVE_PROCESSES", str(processes))
    monkeypatch.setenv("DEADLY_CALL", "0")
    monkeypatch.setattr("tests.rounds.running.CommandsHere", RanksAnew)
    train = {"objective": f"{HERE}:DeadlyGrao", "learning_rate": 1e-3, "groups_per_step": 4}
    configs = []
    for name in ("apart", "resident"):
        (tmp_path / name).mkdir()
        resources = {"train": {"processes": 2}}
        configs.append(write_config(tmp_path / name, model, prompts, train=train, resources=resources))

    def take_processes() -> list[list[str]]:
        """The processes that each rank has been in since the last call, one for every call of the objective."""
        files = [processes / "0", processes / "1"]
        calls = [file.read_text().split() for file in files]
        for file in files:
            file.unlink()
        return calls

    run(configs[0])
    of_ranks = take_processes()
    assert [len(set(calls)) for calls in of_ranks] == [2, 2]  # rounds
    num_calls = len(of_ranks[1])

    monkeypatch.setenv("DEADLY_CALL", str(num_calls))  # the last one of the last round
    killed = Command("rounds", "run", configs[1])
    _, stderr = killed.communicate()
    assert killed.returncode == 1
    assert "Rank 1 was ended by SIGKILL" in stderr
    assert "Traceback" not in stderr
    of_ranks = take_processes()
    assert [len(set(calls)) for calls in of_ranks] == [1, 1]
    assert len(of_ranks[1]) == num_calls
    run(configs[1])
    assert_equal_outputs(*configs)


def assert_equal_outputs(*configs: Path) -> None:
    """Two runs wrote the same tables and models."""
    first, second = (contents(config) for config in configs)
    assert second.keys() == first.keys()
    for name, expected in first.items():
        if isinstance(expected, dict):
            assert all(expected[key].equal(second[name][key]) for key in expected), name
        else:
            assert second[name] == expected, name
