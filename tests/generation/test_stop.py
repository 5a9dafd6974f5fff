"""A stop signal keeps every finished group, and the next run does only what is left."""

import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.generation.engines.base import FakeEngine, Request, SampledGroup, Sampling
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.commands import Command

PATIENCE = 120.0


@pytest.fixture(scope="module")
def many_prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [tiny.prompt_row(f"Say the number {index}.", f"It is {index}.") for index in range(24)]
    return tiny.write_table(tmp_path_factory.mktemp("many") / "table", "prompts", rows)


class Interrupting(FakeEngine):
    """Raises a signal, or an error, after a number of groups."""

    def __init__(self, after: int, what: signal.Signals | Exception | None) -> None:
        super().__init__()
        self._after = after
        self._what = what

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        for count, groups in enumerate(super().generate(parts, sampling)):
            if count == self._after and isinstance(self._what, Exception):
                raise self._what
            if count == self._after and isinstance(self._what, signal.Signals):
                signal.raise_signal(self._what)
            yield groups


def run(prompts: str, out: Path, model: Path, engine: FakeEngine) -> Any:
    options = GenerateOptions(model=str(model), samples=2, max_new_tokens=8, prompts_per_part=5)
    return generate_groups(prompts, str(out), options, make_engine=lambda _: engine)


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_finished_groups_of_unfinished_parts_are_saved_and_not_sampled_again(
    number: signal.Signals, many_prompts: str, model: Path, tmp_path: Path
) -> None:
    """Of 24 groups in parts of five, the signal comes when eight are finished and the ninth is on its way."""
    out = tmp_path / "groups"
    with pytest.raises(
        Interrupted, match=rf"Stopped by {number.name}\. 1 part is committed, and 3 finished groups are saved"
    ):
        run(many_prompts, out, model, Interrupting(8, number))
    assert [path.name for path in sorted(out.iterdir())] == ["part-000000.parquet", "part-000001.parquet.unfinished"]
    second = FakeEngine()
    summary = run(many_prompts, out, model, second)
    assert second.num_requests == 24 - 8
    assert (summary.groups_recovered, summary.parts_found, summary.new_samples) == (3, 1, 2 * 16)
    run(many_prompts, tmp_path / "undisturbed", model, FakeEngine())
    assert bytes_of(out) == bytes_of(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_run_stopped_again_and_again_still_resumes(many_prompts: str, model: Path, tmp_path: Path) -> None:
    """Seven groups at a time: 7, 14, 21, and the last three."""
    out = tmp_path / "groups"
    for _ in range(3):
        with pytest.raises(Interrupted):
            run(many_prompts, out, model, Interrupting(7, signal.SIGTERM))
    last = FakeEngine()
    run(many_prompts, out, model, last)
    assert last.num_requests == 3
    run(many_prompts, tmp_path / "undisturbed", model, FakeEngine())
    assert bytes_of(out) == bytes_of(tmp_path / "undisturbed")


def test_finished_groups_are_saved_when_the_engine_fails(many_prompts: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match="it died"):
        run(many_prompts, tmp_path / "groups", model, Interrupting(12, StageFailure("it died")))
    second = FakeEngine()
    run(many_prompts, tmp_path / "groups", model, second)
    assert second.num_requests == 12


def test_readers_ignore_unfinished_groups(many_prompts: str, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "groups"
    with pytest.raises(Interrupted):
        run(many_prompts, out, model, Interrupting(8, signal.SIGTERM))
    (out / "part-000001.parquet.unfinished").write_bytes(b"damaged")
    engine = FakeEngine()
    run(many_prompts, out, model, engine)
    assert engine.num_requests == 24 - 5  # what cannot be read is sampled again
    assert open_table(str(out), "groups").num_rows == 24
    assert not list(out.glob("*.unfinished"))


def test_signal_handlers_are_restored_afterwards(many_prompts: str, model: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    run(many_prompts, tmp_path / "groups", model, FakeEngine())
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_the_command_stops_within_seconds_and_ends_in_the_same_table(
    engine: str, many_prompts: str, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "groups"
    options = ["--model", str(model), "--engine", engine, "--samples", "2", "--max-new-tokens", "60"]
    options += ["--temperature", "1.0", "--prompts-per-part", "12", "--batch-size", "2"]
    if engine == "vllm":
        options += ["--engine-arg", "max_num_seqs=4", "--engine-arg", "kv_cache_memory_bytes=16777216"]
    process = Command("generate", many_prompts, out, *options)
    end = time.monotonic() + PATIENCE
    while not list(out.glob("part-*.parquet")) and time.monotonic() < end:
        assert process.poll() is None, process.written("stderr")
        time.sleep(0.005)
    process.terminate()
    assert process.wait(10) == 1
    assert "Error: Stopped by SIGTERM. 1 part is committed" in process.written("stderr")
    assert "Traceback" not in process.written("stderr")
    again = tiny.grao_json("generate", many_prompts, out, *options)
    assert again["new_samples"] == 2 * (24 - 12 - again["groups_recovered"])
    tiny.grao_json("generate", many_prompts, tmp_path / "undisturbed", *options)
    ours, theirs = (open_table(str(url), "groups").arrow() for url in (out, tmp_path / "undisturbed"))
    columns = [name for name in ours.column_names if name != "completion_logprobs"]
    assert ours.select(columns).equals(theirs.select(columns))
