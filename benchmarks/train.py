"""The training step against TRL's GRPO and plain Hugging Face: same groups, model, precision and optimizer, one run.

    python -m benchmarks.train --setting equal --dtype bfloat16
    python -m benchmarks.train --setting ragged --dtype float32
    python -m benchmarks.train --setting long
    python -m benchmarks.train --setting equal --memory
    python -m benchmarks.train --device cuda --model 0.5b      # or 1.5b; with liger-kernel installed, TRL has it, too
    python -m benchmarks.train --device cuda --model 0.5b --memory

A step is forward, backward, AdamW. Every repetition has a new batch; the sides, each a process of its own, take turns.
`--memory` prints how far a step raised the process's peak instead.
"""

import contextlib
import gc
import importlib.util
import multiprocessing
import random
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import click
import torch

from benchmarks.common import describe_machine, print_table
from benchmarks.train_peers import PlainHuggingFace, TrlGrpo
from grao_pipeline.training.attention.base import choose_attention
from grao_pipeline.training.data import TrainingGroup, TrainingSequence, micro_batches
from grao_pipeline.training.objectives.grao import Grao
from grao_pipeline.training.packing import pack
from grao_pipeline.training.policy import Policy
from grao_pipeline.training.step import run_micro_batch
from grao_pipeline.training.work import FlopCounter, measure_peak, work_of


@dataclass(frozen=True)
class Setting:
    """Shapes of a step's groups: prompt and completion lengths are drawn between the two numbers."""

    groups: int
    samples: int
    prompt: tuple[int, int]
    completion: tuple[int, int]


SETTINGS = {
    "equal": Setting(4, 8, (256, 256), (128, 128)),
    "ragged": Setting(4, 8, (64, 512), (16, 256)),
    "long": Setting(4, 8, (1024, 1024), (64, 64)),
    "groups-of-4": Setting(8, 4, (256, 256), (128, 128)),
    "groups-of-32": Setting(1, 32, (256, 256), (128, 128)),
    "two-groups": Setting(2, 8, (256, 256), (128, 128)),
    "eight-groups": Setting(8, 8, (256, 256), (128, 128)),
}


@dataclass(frozen=True)
class Shape:
    """Of a Qwen2-style model."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocab_size: int


MODELS = {
    "25m": Shape(384, 8, 6, 1024, 32768),
    "0.5b": Shape(896, 24, 14, 4864, 151936),  # Qwen2.5-0.5B and 1.5B
    "1.5b": Shape(1536, 28, 12, 8960, 151936),
}


class Ours:
    """What `grao train` does with a step's groups, in micro-batches of at most so many tokens."""

    def __init__(self, model: Any, bf16: bool, compiled: bool = False, tokens_per_batch: int = 16384) -> None:
        device = next(model.parameters()).device
        attention = choose_attention("auto", device, "bfloat16" if bf16 else "float32")
        self._policy = Policy(model.train(), attention, compiled)
        self._tokens_per_batch = tokens_per_batch
        self._device = device
        self._bf16 = bf16

    def backward(self, groups: list[TrainingGroup]) -> None:
        for sequences in micro_batches(groups, self._tokens_per_batch):
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16):
                made = run_micro_batch(self._policy, Grao(0.5, 0.6), sequences, self._device)
            (made.gradient / len(groups)).backward()  # type: ignore[no-untyped-call]


def make_groups(setting: Setting, vocab_size: int, seed: int) -> list[TrainingGroup]:
    """A step's groups of random tokens, each with a reference."""
    rng = random.Random(seed)
    groups = []
    for number in range(setting.groups):
        prompt = rng.choices(range(10, vocab_size), k=rng.randint(*setting.prompt))
        values = [rng.gauss(0, 1) for _ in range(setting.samples)]
        mean = sum(values) / len(values)
        sequences = [
            TrainingSequence(
                prompt_token_ids=prompt,
                token_ids=rng.choices(range(10, vocab_size), k=rng.randint(*setting.completion)),
                advantage=value,
                is_reference=index == setting.samples,
                group_size=setting.samples,
                group_mean_advantage=mean,
                group_has_reference=True,
                reward=None,
                behavior_logprobs=None,
            )
            for index, value in enumerate([*values, 1.0])
        ]
        groups.append(TrainingGroup(str(number), sequences))
    return groups


def make_model(shape: Shape, device: str) -> Any:
    """A random Qwen2-style model with tied embeddings."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.device(device):
        return Qwen2ForCausalLM(config)


SIDES = [
    "ours",
    "ours, compiled",
    "ours, by group",
    "TRL, defaults",
    "TRL, whole step",
    "TRL, by group",
    "TRL, by group, Liger",
    "HF, whole step",
    "HF, by group",
    "HF, row by row",
]


@dataclass(frozen=True)
class Run:
    """What all sides have in common."""

    setting: Setting
    shape: Shape
    bf16: bool
    device: str
    threads: int

    def groups(self, seed: int) -> list[TrainingGroup]:
        return make_groups(self.setting, self.shape.vocab_size, seed)


def make_side(name: str, model: Any, run: Run) -> Any:
    by_group = run.setting.samples + 1
    rows = run.setting.groups * by_group
    one_group = run.setting.prompt[1] + by_group * run.setting.completion[1]
    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: Ours(model, run.bf16),
        "ours, compiled": lambda: Ours(model, run.bf16, compiled=True),
        "ours, by group": lambda: Ours(model, run.bf16, tokens_per_batch=one_group),
        "TRL, defaults": lambda: TrlGrpo(model, run.bf16, rows, defaults=True),
        "TRL, whole step": lambda: TrlGrpo(model, run.bf16, rows),
        "TRL, by group": lambda: TrlGrpo(model, run.bf16, by_group),
        "TRL, by group, Liger": lambda: TrlGrpo(model, run.bf16, by_group, liger=True),
        "HF, whole step": lambda: PlainHuggingFace(model, run.bf16, rows),
        "HF, by group": lambda: PlainHuggingFace(model, run.bf16, by_group),
        "HF, row by row": lambda: PlainHuggingFace(model, run.bf16, 1),
    }
    return makers[name]()


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
    """A side in a process of its own, so that it has the memory and the settings that its users have."""

    def __init__(self, name: str, run: Run) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, name, run), daemon=True)
        self._process.start()
        other.close()

    def ask(self, what: str, seed: int) -> Any:
        """Call the method `what` of the side's Stepper with the groups of a seed."""
        self._pipe.send((what, seed))
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, name: str, run: Run) -> None:
    torch.set_num_threads(run.threads)
    model = make_model(run.shape, run.device)
    stepper = Stepper(make_side(name, model, run), model)
    with contextlib.suppress(EOFError):
        while True:
            what, seed = pipe.recv()
            groups = run.groups(seed)
            gc.collect()
            pipe.send(getattr(stepper, what)(groups))


def measure_seconds(names: Sequence[str], run: Run, seeds: Sequence[int], warmup: int) -> dict[str, list[float]]:
    """Of each side the seconds of a step, seed by seed; on CPU those of its own process, by turns.

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
    found = {}
    for name in names:
        side = SideProcess(name, run)
        found[name] = side.ask("peak", 7) >> 20
        side.close()
    return found


@click.command()
@click.option("--setting", type=click.Choice(list(SETTINGS)), default="equal", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="bfloat16", show_default=True)
@click.option("--side", "sides", multiple=True, type=click.Choice(SIDES), help="Only these; all by default.")
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
    has_liger = device != "cpu" and importlib.util.find_spec("liger_kernel") is not None
    names = list(sides) or [name for name in SIDES if has_liger or not name.endswith("Liger")]
    if memory:
        mib = measure_memory(names, run)
        best = min((value for name, value in mib.items() if name.startswith("TRL")), default=0) or 1
        print_table(
            f"Peak memory of a step beyond weights and optimizer, {setting}, {dtype} ({describe_machine()})",
            ["side", "MiB", "of TRL's best"],
            [[name, f"{value:,}", value / best] for name, value in mib.items()],
        )
        return
    model = make_model(shape, "meta")
    flops, parameters = FlopCounter.of(model, has_adapter=False), sum(p.numel() for p in model.parameters())
    peak = measure_peak(torch.device(device), getattr(torch, dtype))
    seeds = range(warmup + repetitions)
    needed = [
        flops.flops(work_of(pack([sequence for group in run.groups(seed) for sequence in group.sequences]), False))
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


def _ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """The median over batches, which are of different sizes where lengths are ragged."""
    return statistics.median(one / other for one, other in zip(seconds, others, strict=True))


if __name__ == "__main__":
    main()
