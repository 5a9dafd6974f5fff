"""The training step against TRL's GRPO and plain Hugging Face: same groups, model, precision and optimizer, one run.

    python -m benchmarks.train --setting equal --dtype bfloat16
    python -m benchmarks.train --setting ragged --dtype float32
    python -m benchmarks.train --setting long
    python -m benchmarks.train --setting equal --memory
    python -m benchmarks.train --device cuda --model 0.5b      # or 1.5b; with liger-kernel installed, TRL has it, too
    python -m benchmarks.train --device cuda --model 0.5b --memory

A step is forward, backward, AdamW. Every repetition has a new batch; the sides, each a separate process, take turns.
`--memory` prints how far a step raised the process's peak instead.
"""

import gc
import importlib.util
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import click
import torch

from benchmarks.common import describe_machine, print_table
from benchmarks.train_peers import PlainHuggingFace, TrlGrpo
from benchmarks.train_workload import MODELS, SETTINGS, Run, Setting, make_groups, make_model
from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.data.sequences import TrainingGroup, micro_batches
from grao_pipeline.training.micro_batch import run_micro_batch
from grao_pipeline.training.model.attention.base import choose_attention
from grao_pipeline.training.model.flops import FlopCounter, cost_of, measure_peak
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.grao import Grao


class Ours:
    """What `grao train` does with a step's groups, in micro-batches of at most this many tokens."""

    def __init__(
        self, model: Any, bf16: bool, compiled: bool = False, tokens_per_batch: int = 16384, attention: str = "auto"
    ) -> None:
        device = next(model.parameters()).device
        attention = choose_attention(attention, device, "bfloat16" if bf16 else "float32")
        self._policy = Policy(model.train(), attention)
        if compiled:
            self._policy.compile_layers_and_loss()
        self._tokens_per_batch = tokens_per_batch
        self._device = device
        self._bf16 = bf16

    def backward(self, groups: list[TrainingGroup]) -> None:
        for sequences in micro_batches(groups, self._tokens_per_batch):
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16):
                micro_batch = run_micro_batch(self._policy, Grao(0.5, 0.6), sequences, self._device)
            (micro_batch.surrogate / len(groups)).backward()  # type: ignore[no-untyped-call]


SIDES: dict[str, Callable[[Any, Run], Any]] = {
    "ours": lambda model, run: Ours(model, run.bf16),
    "ours, compiled": lambda model, run: Ours(model, run.bf16, compiled=True),
    "ours, flex": lambda model, run: Ours(model, run.bf16, attention="flex"),
    "ours, flex, compiled": lambda model, run: Ours(model, run.bf16, compiled=True, attention="flex"),
    "ours, by group": lambda model, run: Ours(model, run.bf16, tokens_per_batch=run.setting.group_tokens),
    "TRL, defaults": lambda model, run: TrlGrpo(model, run.bf16, run.setting.rows, defaults=True),
    "TRL, whole step": lambda model, run: TrlGrpo(model, run.bf16, run.setting.rows),
    "TRL, by group": lambda model, run: TrlGrpo(model, run.bf16, run.setting.group_rows),
    "TRL, by group, Liger": lambda model, run: TrlGrpo(model, run.bf16, run.setting.group_rows, liger=True),
    "HF, whole step": lambda model, run: PlainHuggingFace(model, run.bf16, run.setting.rows),
    "HF, by group": lambda model, run: PlainHuggingFace(model, run.bf16, run.setting.group_rows),
    "HF, row by row": lambda model, run: PlainHuggingFace(model, run.bf16, 1),
}


class Stepper:
    """A side with its optimizer; times whole steps."""

    def __init__(self, side: Any, model: Any) -> None:
        self._side = side
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
        self._cuda = next(model.parameters()).is_cuda

    def step(self, groups: list[TrainingGroup]) -> tuple[float, float]:
        """(wall, process) seconds of forward, backward and optimizer."""
        self._wait()
        wall, process = time.perf_counter(), time.process_time()
        self._side.backward(groups)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._wait()
        return time.perf_counter() - wall, time.process_time() - process

    def peak(self, groups: list[TrainingGroup]) -> int:
        """Bytes by which a step raises the process's peak beyond that of a tiny one (weights, optimizer, libraries)."""
        tiny = Setting(1, 1, (8, 8), (4, 4))
        for seed in range(2):
            self.step(make_groups(tiny, 32, seed))
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.step(groups)
            return torch.cuda.max_memory_allocated() - before
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.step(groups)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


class SideProcess:
    """A side in a separate process, so that it has the memory and the settings that its users have."""

    def __init__(self, name: str, run: Run) -> None:
        self._name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, name, run), daemon=True)
        self._process.start()
        other.close()

    def ask(self, what: str, seed: int) -> Any:
        """Call the method `what` of the side's Stepper with the groups of a seed."""
        self._pipe.send((what, seed))
        try:
            return self._pipe.recv()
        except EOFError:
            raise click.ClickException(
                f"{self._name}: its process has ended, see above; if nothing is said there, it was killed for memory, "
                "which all sides keep: name fewer of them with --side."
            ) from None

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def _serve(pipe: Connection, name: str, run: Run) -> None:
    torch.set_num_threads(run.threads)
    model = make_model(run.shape, run.device)
    stepper = Stepper(SIDES[name](model, run), model)
    with suppress(EOFError):  # another side has failed
        while (asked := pipe.recv()) is not None:
            what, seed = asked
            groups = run.groups(seed)
            gc.collect()
            pipe.send(getattr(stepper, what)(groups))


def measure_seconds(names: Sequence[str], run: Run, seeds: Sequence[int], warmup: int) -> dict[str, list[float]]:
    """Of each side the seconds of a step, seed by seed; on CPU those of the side's process, by turns.

    On a GPU one side runs after the other, since all their weights and caches would not fit side by side.
    """
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for together in [names] if run.device == "cpu" else [[name] for name in names]:
        sides = {name: SideProcess(name, run) for name in together}
        for turn, seed in enumerate(seeds):
            for name, side in sides.items():
                wall, process = side.ask("step", seed)
                click.echo(f"{turn} {name}: {wall:.2f} s, {process:.2f} s of CPU time", err=True)
                if turn >= warmup:
                    seconds[name].append(process if run.device == "cpu" else wall)
        for side in sides.values():
            side.close()
    return seconds


def measure_memory(names: Sequence[str], run: Run) -> dict[str, int]:
    """Of each side the MiB that a step adds to its peak."""
    mebibytes = {}
    for name in names:
        side = SideProcess(name, run)
        mebibytes[name] = side.ask("peak", 7) >> 20
        side.close()
    return mebibytes


@click.command()
@click.option("--setting", type=click.Choice(list(SETTINGS)), default="equal", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="bfloat16", show_default=True)
@click.option("--side", "sides", multiple=True, type=click.Choice(list(SIDES)), help="Only these; all by default.")
@click.option("--repetitions", default=5, show_default=True)
@click.option("--warmup", default=2, show_default=True)
@click.option("--model", "model_name", type=click.Choice(list(MODELS)), default="25m", show_default=True)
@click.option("--vocab-size", type=int, help="Instead of the model's.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--memory", is_flag=True, help="Peak memory of a step instead of its time.")
def main(
    setting: str,
    dtype: str,
    sides: tuple[str, ...],
    repetitions: int,
    warmup: int,
    model_name: str,
    vocab_size: int | None,
    device: str,
    threads: int,
    memory: bool,
) -> None:
    """Seconds of a training step, or its memory, by us and by others."""
    torch.set_num_threads(threads)
    shape = MODELS[model_name]
    if vocab_size:
        shape = replace(shape, vocab_size=vocab_size)
    run = Run(SETTINGS[setting], shape, dtype == "bfloat16", device, threads)
    names = list(sides) or [name for name in SIDES if _can_run(name, device)]
    if memory:
        mib = measure_memory(names, run)
        best = min((value for name, value in mib.items() if name.startswith("TRL")), default=None)
        print_table(
            f"Peak memory of a step beyond weights and optimizer, {setting}, {dtype} ({describe_machine()})",
            ["side", "MiB", "of TRL's best"],
            [[name, f"{value:,}", value / best if best else "–"] for name, value in mib.items()],
        )
        return
    model = make_model(shape, "meta")
    flops, parameters = FlopCounter.of(model, has_adapter=False), sum(p.numel() for p in model.parameters())
    peak = measure_peak(torch.device(device), getattr(torch, dtype))
    seeds = range(warmup + repetitions)
    needed = [
        flops.flops(cost_of(pack([sequence for group in run.groups(seed) for sequence in group.sequences]), False))
        for seed in seeds[warmup:]
    ]
    seconds = measure_seconds(names, run, seeds, warmup)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    fastest = min((name for name in names if name.startswith("ours")), key=medians.__getitem__, default=names[0])
    click.echo(
        "Of the peak: the operations that the step needs, each prompt once, by those of a matrix product here, which "
        f"reaches {peak / 1e12:.3g} TFLOP/s."
    )
    print_table(
        f"Training step, {setting} ({run.setting}), {dtype}, {parameters / 1e6:.1f} M parameters, "
        f"vocabulary {shape.vocab_size}, medians of {repetitions} new batches ({describe_machine()})",
        ["side", "seconds", "times the fastest of ours, batch by batch", "of the peak"],
        [
            [name, medians[name], _ratio(seconds[name], seconds[fastest]), _ratio(needed, seconds[name]) / peak]
            for name in names
        ],
    )


def _can_run(name: str, device: str) -> bool:
    """Whether the packages and the device of a side are here."""
    if name.startswith("TRL") and not all(map(importlib.util.find_spec, ("trl", "datasets"))):
        return False
    if name.endswith("Liger"):
        return device != "cpu" and importlib.util.find_spec("liger_kernel") is not None
    return "flex" not in name or device != "cpu"


def _ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """The median over batches, which are of different sizes where lengths are ragged."""
    return statistics.median(one / other for one, other in zip(seconds, others, strict=True))


if __name__ == "__main__":
    main()
