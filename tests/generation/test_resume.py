"""`grao generate` survives `kill -9` at any moment: committed parts are neither lost nor written twice."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.generation.engines.base import Engine
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.commands import Command, forked
from tests.models.engine_processes import engines_of, fork_engines

PATIENCE = 240.0


class Killable:
    """`grao generate` in another process, with its log."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.process = Command("generate", *arguments, environment={**os.environ, **environment})

    @property
    def log(self) -> str:
        return self.process.written("stderr")

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        """Wait for a condition while the process works; its value."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            assert self.process.poll() is None, self.log
            time.sleep(0.01)
        raise AssertionError(f"the condition did not hold in time; the log is {self.log}")

    def kill(self) -> None:
        assert self.process.poll() is None, self.log
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def parts_of(path: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of the last change) of every committed part."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted(path.glob("part-*.parquet"))}


@pytest.fixture(scope="module")
def many_prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty prompts, one without a reference."""
    rows = [tiny.prompt_row(f"Say the number {index}.", f"It is {index}.") for index in range(39)]
    return tiny.write_table(tmp_path_factory.mktemp("many") / "table", "prompts", [*rows, tiny.prompt_row("Go.")])


@pytest.mark.slow
def test_a_killed_run_ends_in_the_table_of_an_uninterrupted_one(model: Path, many_prompts: str, tmp_path: Path) -> None:
    """Killed while it starts, while it loads, when one part is there, and two parts later."""
    out = tmp_path / "killed"
    options = ["--model", str(model), "--engine", "transformers", "--samples", "2", "--max-new-tokens", "80"]
    options += ["--temperature", "1.0", "--prompts-per-part", "2"]
    committed: dict[str, tuple[int, int]] = {}

    def is_loading() -> bool:
        return "0 of 20 parts are there; loading" in run.log

    def one_part_is_there() -> bool:
        return len(parts_of(out)) >= 1

    def two_more_parts_are_there() -> bool:
        return len(parts_of(out)) >= len(committed) + 2

    for moment in (None, is_loading, one_part_is_there, two_more_parts_are_there):
        run = Killable(many_prompts, out, *options)
        if moment is not None:
            run.wait_until(moment)
        run.kill()
        now = parts_of(out)
        assert {name: now[name] for name in committed} == committed
        assert not (out / ".manifest.parquet").exists()
        committed = now
    assert 3 <= len(committed) < 20

    summary = tiny.grao_json("generate", many_prompts, out, *options)
    assert summary["parts_found"] == len(committed)
    assert summary["parts_made"] == 20 - len(committed)
    assert {name: parts_of(out)[name] for name in committed} == committed
    tiny.grao_json("generate", many_prompts, tmp_path / "undisturbed", *options)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "undisturbed").iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected


@pytest.fixture
def vllm_options(model: Path) -> GenerateOptions:
    """Two sequences at a time, so that there is time to kill it."""
    arguments = ["max_num_seqs=2", "kv_cache_memory_bytes=16777216"]
    return GenerateOptions(
        model=str(model),
        engine="vllm",
        samples=2,
        max_new_tokens=100,
        temperature=1.0,
        prompts_per_part=2,
        engine_arg=arguments,
    )


def engine_processes(run: Killable) -> list[int]:
    """Ids of the processes that vLLM started below the command, the outermost first."""
    pids: list[int] = []
    for line in subprocess.check_output(["ps", "-e", "-ww", "-o", "pid=,ppid=,args="], text=True).splitlines():
        pid, parent, arguments = line.split(None, 2)
        if int(parent) in (run.process.pid, *pids) and "spawn_main" in arguments:
            pids.append(int(pid))
    return pids


def is_alive(pid: int) -> bool:
    try:
        return " Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:2]
    except FileNotFoundError:
        return False


def test_a_killed_vllm_engine_process_is_reported_and_the_run_resumes(
    vllm_options: GenerateOptions, vllm_engine: Engine, many_prompts: str, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    arguments = tiny.flags("generate", vllm_options)
    run = Killable(many_prompts, out, *arguments, VLLM_ENABLE_V1_MULTIPROCESSING="1")
    engine_process = run.wait_until(lambda: engine_processes(run))[0]
    run.wait_until(lambda: len(parts_of(out)) >= 2)
    assert engine_processes(run) == [engine_process]  # no process below it imports vLLM once more
    os.kill(engine_process, signal.SIGKILL)
    assert run.process.wait(PATIENCE) == 1
    assert "Error: The vLLM engine died" in run.log
    assert "Traceback" not in run.log
    committed = parts_of(out)
    assert 2 <= len(committed) < 20

    summary = generate_groups(many_prompts, str(out), vllm_options, make_engine=lambda _: vllm_engine)
    assert summary.parts_found == len(committed)
    assert {name: parts_of(out)[name] for name in committed} == committed
    undisturbed = str(tmp_path / "undisturbed")
    generate_groups(many_prompts, undisturbed, vllm_options, make_engine=lambda _: vllm_engine)
    ours, theirs = (open_table(url, "groups").arrow().to_pylist() for url in (str(out), undisturbed))
    for row, expected in zip(ours, theirs, strict=True):
        logprobs, expected_logprobs = row.pop("completion_logprobs"), expected.pop("completion_logprobs")
        assert row == expected
        for ours_logprobs, theirs_logprobs in zip(logprobs, expected_logprobs, strict=True):
            assert ours_logprobs == pytest.approx(theirs_logprobs, abs=1e-5)


def test_a_killed_command_leaves_no_vllm_process(
    vllm_options: GenerateOptions, many_prompts: str, tmp_path: Path
) -> None:
    """Left alone, they would hold the memory of the GPU that the next run of the command needs."""
    arguments = tiny.flags("generate", vllm_options)
    run = Killable(many_prompts, tmp_path / "out", *arguments, VLLM_ENABLE_V1_MULTIPROCESSING="1")
    processes = run.wait_until(lambda: engine_processes(run))
    assert all(map(is_alive, processes))
    run.kill()
    end = time.monotonic() + 60
    while any(map(is_alive, processes)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(is_alive, processes))


def sample_with_a_forked_engine(arguments: list[str]) -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    fork_engines()
    tiny.grao("generate", *arguments)


def test_a_killed_command_leaves_no_forked_engine(
    vllm_options: GenerateOptions, many_prompts: str, tmp_path: Path
) -> None:
    """As on a GPU, where vLLM forks it."""
    out = tmp_path / "out"
    process = forked(sample_with_a_forked_engine, [many_prompts, str(out), *tiny.flags("generate", vllm_options)])
    assert process.pid is not None
    end = time.monotonic() + PATIENCE
    while not parts_of(out):
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.02)
    engines = engines_of(process.pid)
    assert engines
    process.kill()
    process.join()
    end = time.monotonic() + 60
    while any(map(is_alive, engines)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(is_alive, engines))
