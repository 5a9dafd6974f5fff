"""The transformers engine against plain `model.generate` on the same batch, sampling settings and precision.

    python -m benchmarks.transformers_engine
    python -m benchmarks.transformers_engine --device cuda --model Qwen/Qwen2.5-0.5B-Instruct

`generate` gets the prompts padded on the left and `num_return_sequences`; it returns token ids. Ours also returns the
untempered log-prob of every token, draws every sample from a separate random stream, and encodes every prompt once. The
required ratio is 1.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import get_args

import click
import torch

from benchmarks.common import describe_machine, make_model, print_table
from grao_pipeline.arguments import NoArguments
from grao_pipeline.generation.engines.base import EngineOptions, Request, Sampling
from grao_pipeline.generation.engines.transformers import TransformersEngine
from grao_pipeline.options import Device


@click.command()
@click.option("--model", default=None, help="Model directory or hub id; a random one of 7 M parameters by default.")
@click.option("--prompts", "num_prompts", default=8, show_default=True)
@click.option("--samples", default=8, show_default=True)
@click.option("--max-new-tokens", default=64, show_default=True)
@click.option("--device", type=click.Choice(get_args(Device)), default="cpu", show_default=True)
@click.option("--repetitions", default=5, show_default=True)
def main(
    model: str | None, num_prompts: int, samples: int, max_new_tokens: int, device: Device, repetitions: int
) -> None:
    """Tokens per second of both sides."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        model = model or str(make_model(Path(scratch) / "model", 256, 4, 8192, 1024))
        options = EngineOptions(model, "auto", 1024, device, num_prompts).resolved()
        engine = TransformersEngine(options, NoArguments())
        plain = AutoModelForCausalLM.from_pretrained(model, dtype=options.dtype).to(options.device).eval()
        sampling = Sampling(1.0, 1.0, max_new_tokens, (2,))
        rates: list[tuple[float, float]] = []
        for repetition in range(repetitions + 1):  # the first warms both up
            rng = random.Random(repetition)
            prompts = [rng.choices(range(10, 4000), k=rng.randint(32, 192)) for _ in range(num_prompts)]
            torch.manual_seed(repetition)
            pair = {}
            for side in ("ours", "plain") if repetition % 2 else ("plain", "ours"):
                started = time.perf_counter()
                if side == "ours":
                    requests = [Request((0, i), ids, samples, i + 1, max_new_tokens) for i, ids in enumerate(prompts)]
                    groups = [group for groups in engine.generate([requests], sampling) for group in groups]
                    tokens = sum(len(sample.token_ids) for group in groups for sample in group.samples)
                else:
                    tokens = _generate(plain, prompts, samples, max_new_tokens)
                pair[side] = tokens / (time.perf_counter() - started)
            if repetition:
                rates.append((pair["ours"], pair["plain"]))
    ours, others = (statistics.median(side) for side in zip(*rates, strict=True))
    ratio = statistics.median(mine / other for mine, other in rates)
    print_table(
        f"{num_prompts} prompts × {samples} samples × up to {max_new_tokens} tokens, median of {repetitions} "
        f"({describe_machine()})",
        ["", "tokens/s", "ratio"],
        [["model.generate", f"{others:,.0f}", 1.0], ["transformers engine", f"{ours:,.0f}", ratio]],
    )


@torch.inference_mode()
def _generate(model: torch.nn.Module, prompts: list[list[int]], samples: int, max_new_tokens: int) -> int:
    """Number of tokens that `model.generate` sampled, up to and including the end-of-turn token."""
    device = next(model.parameters()).device
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in prompts], True, 0, "left").to(device)
    lengths = torch.tensor([len(row) for row in prompts], device=device)
    mask = torch.arange(ids.shape[1], device=device).flip(0) < lengths[:, None]
    out = model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=mask.long(),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
        num_return_sequences=samples,
        pad_token_id=0,
        eos_token_id=2,
    )[:, ids.shape[1] :]
    return int((out != 0).sum())


if __name__ == "__main__":
    main()
