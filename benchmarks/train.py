"""The training step against TRL's GRPO and plain Hugging Face: same groups, model, precision and optimizer, one run.

    python -m benchmarks.train --setting equal --dtype bfloat16
    python -m benchmarks.train --setting ragged --dtype float32
    python -m benchmarks.train --setting long
    python -m benchmarks.train --setting equal --memory
    python -m benchmarks.train --device cuda --model 0.5b      # or 1.5b; with liger-kernel installed, TRL has it, too
    python -m benchmarks.train --device cuda --model 0.5b --memory

A step is forward, backward, AdamW. Every repetition has a new batch; the sides take turns on it. `--memory` runs each
side in a process of its own instead and prints how far a step raised the process's peak.
"""

import copy
import gc
import importlib.util
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import describe_machine, make_tokenizer, print_table
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
    return Qwen2ForCausalLM(config).to(device)


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


def make_side(name: str, model: Any, tokenizer: Any, bf16: bool, setting: Setting) -> Any:
    rows = setting.groups * (setting.samples + 1)
    by_group = setting.samples + 1
    one_group = setting.prompt[1] + by_group * setting.completion[1]
    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: Ours(model, bf16),
        "ours, compiled": lambda: Ours(model, bf16, compiled=True),
        "ours, by group": lambda: Ours(model, bf16, tokens_per_batch=one_group),
        "TRL, defaults": lambda: TrlGrpo(model, tokenizer, bf16, rows, defaults=True),
        "TRL, whole step": lambda: TrlGrpo(model, tokenizer, bf16, rows),
        "TRL, by group": lambda: TrlGrpo(model, tokenizer, bf16, by_group),
        "TRL, by group, Liger": lambda: TrlGrpo(model, tokenizer, bf16, by_group, liger=True),
        "HF, whole step": lambda: PlainHuggingFace(model, bf16, rows),
        "HF, by group": lambda: PlainHuggingFace(model, bf16, by_group),
        "HF, row by row": lambda: PlainHuggingFace(model, bf16, 1),
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

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


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
@click.option("--memory-of", default=None, hidden=True)
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
    memory_of: str | None,
) -> None:
    """Seconds of a training step, or its memory, by us and by others."""
    torch.set_num_threads(threads)
    shapes = SETTINGS[setting]
    shape = MODELS[model_name]
    if vocab_size:
        shape = replace(shape, vocab_size=vocab_size)
    has_liger = device != "cpu" and importlib.util.find_spec("liger_kernel") is not None
    names = list(sides) or [name for name in SIDES if has_liger or not name.endswith("Liger")]
    bf16 = dtype == "bfloat16"
    if memory and memory_of is None:
        found_mib: dict[str, int] = {}
        for name in names:
            found = subprocess.run(
                [sys.executable, "-m", "benchmarks.train", *sys.argv[1:], "--memory-of", name],
                capture_output=True,
                text=True,
                check=True,
            )
            found_mib[name] = int(found.stdout.split()[-1])
        best = min((mib for name, mib in found_mib.items() if name.startswith("TRL")), default=0) or 1
        print_table(
            f"Peak memory of a step beyond weights and optimizer, {setting}, {dtype} ({describe_machine()})",
            ["side", "MiB", "of TRL's best"],
            [[name, f"{mib:,}", mib / best] for name, mib in found_mib.items()],
        )
        return
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = make_tokenizer(Path(scratch), 512)
        base = make_model(shape, device)
        if memory_of is not None:
            click.echo(_memory(memory_of, base, tokenizer, bf16, shapes, shape.vocab_size))
            return
        peak, flops = measure_peak(torch.device(device), getattr(torch, dtype)), FlopCounter.of(base, has_adapter=False)
        needed: list[float] = []
        steppers = {}
        for name in names:
            model = copy.deepcopy(base)
            steppers[name] = Stepper(make_side(name, model, tokenizer, bf16, shapes), model)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for repetition in range(warmup + repetitions):
            groups = make_groups(shapes, shape.vocab_size, repetition)
            if repetition >= warmup:
                packed = pack([sequence for group in groups for sequence in group.sequences])
                needed.append(flops.flops(work_of(packed, in_rows=False)))
            for name in names:
                gc.collect()
                wall, process = steppers[name].step(groups)
                click.echo(f"{repetition} {name}: {wall:.2f} s, {process:.2f} s of CPU time", err=True)
                if repetition >= warmup:
                    seconds[name].append(wall if device != "cpu" else process)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    fastest = min((name for name in names if name.startswith("ours")), key=medians.__getitem__, default=names[0])
    parameters = sum(p.numel() for p in base.parameters())
    click.echo(
        "Of the peak: the operations that the step needs, each prompt once, by those of a matrix product here, which "
        f"reaches {peak / 1e12:.3g} TFLOP/s."
    )
    print_table(
        f"Training step, {setting} ({shapes}), {dtype}, {parameters / 1e6:.1f} M parameters, "
        f"vocabulary {shape.vocab_size}, medians of {repetitions} new batches ({describe_machine()})",
        ["side", "seconds", "times the fastest of ours, batch by batch", "of the peak"],
        [
            [
                name,
                medians[name],
                _ratio(seconds[name], seconds[fastest]),
                _ratio(needed, seconds[name]) / peak,
            ]
            for name in names
        ],
    )


def _ratio(seconds: list[float], others: list[float]) -> float:
    """The median over batches, which are of different sizes where lengths are ragged."""
    return statistics.median(one / other for one, other in zip(seconds, others, strict=True))


def _memory(name: str, model: Any, tokenizer: Any, bf16: bool, setting: Setting, vocab_size: int) -> int:
    """MiB by which a step raises the peak beyond what a tiny one needs (weights, gradients, optimizer, libraries)."""
    stepper = Stepper(make_side(name, model, tokenizer, bf16, setting), model)
    tiny = Setting(1, 1, (8, 8), (4, 4))
    for seed in range(2):
        stepper.step(make_groups(tiny, vocab_size, seed))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before_cuda = torch.cuda.memory_allocated()
        stepper.step(make_groups(setting, vocab_size, 7))
        return (torch.cuda.max_memory_allocated() - before_cuda) >> 20
    stepper.step(make_groups(setting, vocab_size, 7))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10


if __name__ == "__main__":
    main()
