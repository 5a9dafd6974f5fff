"""The float32 matrix products of a training step on CPU, as torch computes them and as `grao train` does.

    OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.linear

A decoder's linear layers, forward and the gradient of their input, by MKL and by oneDNN; the LM head's output in a
matrix whose rows lie a power of two apart, and in the buffer of the loss.
"""

import statistics
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor, nn

from benchmarks.common import describe_machine, print_table
from grao_pipeline.training.model.lm_head import Buffer
from grao_pipeline.training.model.onednn import use_onednn


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def by_turns(ours: Callable[[], object], other: Callable[[], object], repetitions: int) -> tuple[float, float]:
    """Median seconds of both, measured in turns; the first turn warms up and does not count."""
    turns = [(seconds(ours), seconds(other)) for _ in range(repetitions + 1)][1:]
    our_seconds, other_seconds = zip(*turns, strict=True)
    return statistics.median(our_seconds), statistics.median(other_seconds)


def linear_call(inputs: int, outputs: int, tokens: int, onednn: bool) -> Callable[[], Tensor]:
    """Forward, and the gradient of the input."""
    layer = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
    if onednn:
        use_onednn(layer)
    rows, slopes = torch.randn(tokens, inputs, requires_grad=True), torch.randn(tokens, outputs)
    return lambda: torch.autograd.grad(layer(rows), rows, slopes)[0]


def head_calls(logits: Tensor, hidden_size: int) -> list[Callable[[], Tensor]]:
    """The head's output written into `logits` [T, V], and its weight's gradient read from there."""
    tokens, vocab_size = logits.shape
    rows, weight = torch.randn(tokens, hidden_size), torch.randn(vocab_size, hidden_size)
    total = torch.zeros_like(weight)
    logits.normal_()
    return [lambda: torch.mm(rows, weight.t(), out=logits), lambda: total.addmm_(logits.t(), rows)]


@click.command()
@click.option("--hidden-size", default=384, show_default=True)
@click.option("--intermediate-size", default=1024, show_default=True)
@click.option("--vocab-size", default=32768, show_default=True)
@click.option("--tokens", default=5632, show_default=True, help="Tokens of a step in the decoder.")
@click.option("--chunk", default=1024, show_default=True, help="Tokens that reach the head at a time.")
@click.option("--repetitions", default=9, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(
    hidden_size: int, intermediate_size: int, vocab_size: int, tokens: int, chunk: int, repetitions: int, threads: int
) -> None:
    """GFLOP/s of the products of a step, ours and torch's."""
    torch.set_num_threads(threads)
    table: list[list[object]] = []

    def measure(name: str, flops: float, ours: Callable[[], object], other: Callable[[], object]) -> None:
        our_seconds, torch_seconds = by_turns(ours, other, repetitions)
        speeds = [flops / torch_seconds / 1e9, flops / our_seconds / 1e9]
        table.append([name, *speeds, torch_seconds / our_seconds])

    for inputs, outputs in [
        (hidden_size, hidden_size),
        (hidden_size, intermediate_size),
        (intermediate_size, hidden_size),
    ]:
        calls = [linear_call(inputs, outputs, tokens, onednn) for onednn in (True, False)]
        measure(f"linear layer, {inputs} → {outputs}", 4 * tokens * inputs * outputs, *calls)
    apart = Buffer().matrix(chunk, vocab_size, like=torch.empty(0))
    ours, others = head_calls(apart, hidden_size), head_calls(torch.empty(chunk, vocab_size), hidden_size)
    for name, our_call, other_call in zip(["head", "head, gradient of its weight"], ours, others, strict=True):
        measure(name, 2 * chunk * vocab_size * hidden_size, our_call, other_call)
    print_table(
        f"float32 matrix products, medians of {repetitions} ({describe_machine()})",
        ["", "torch, GFLOP/s", "ours, GFLOP/s", "torch / ours (time)"],
        table,
    )


if __name__ == "__main__":
    main()
