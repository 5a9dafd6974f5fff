"""Are the log-probs and gradients of shared prompts those of plain rows, in half precision?

    python -m benchmarks.attention_equality --device cuda --model 0.5b
    python -m benchmarks.attention_equality --device cpu --model tiny

The same groups, weights and loss through `rows`, which shares nothing, and through every kernel of the device. The
distance of two computations of the rows, one by one and padded together, is what half precision alone does. The exit
code is 1 where a kernel is further from the rows than the self-check of `grao train` allows.
"""

from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.common import describe_machine, print_table
from benchmarks.train_workload import MODELS, SETTINGS, make_groups, make_model
from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.model.self_check import HALF_PRECISION_TOLERANCE_NATS

KERNELS = {"cpu": ["split"], "cuda": ["split", "varlen", "flex"]}


def outcome(model: Any, attention: str, batches: list[list[TrainingSequence]]) -> tuple[Tensor, Tensor]:
    """The log-probs of all tokens, and the gradient of their signed sum with respect to the first layer's weights."""
    policy = Policy(model, attention).train()
    device = next(model.parameters()).device
    model.zero_grad(set_to_none=True)
    logprobs: list[Tensor] = []
    for sequences in batches:
        batch = pack(sequences, device)
        first = sum(map(len, logprobs))  # a token has one sign, however the sequences are cut into batches
        signs = 1.0 - 2.0 * ((torch.arange(len(batch.targets), device=device) + first) % 2)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            surrogate, values = policy(batch, lambda leaf, signs=signs: (leaf * signs).sum(), True)
        surrogate.backward()
        logprobs.append(values.float().cpu())
    weights = policy.layers()[0].parameters()
    gradient = torch.cat([w.grad.float().flatten().cpu() for w in weights if w.grad is not None])
    return torch.cat(logprobs), gradient


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--model", "model_name", type=click.Choice(list(MODELS)), default="tiny", show_default=True)
@click.option("--setting", type=click.Choice(list(SETTINGS)), default="ragged", show_default=True)
def main(device: str, model_name: str, setting: str) -> None:
    """Compare every kernel of the device with plain rows, in bfloat16."""
    shape = MODELS[model_name]
    model = make_model(shape, device)
    groups = make_groups(SETTINGS[setting], shape.vocab_size, 0)[:2]
    together = [[sequence for group in groups for sequence in group.sequences]]
    one_by_one = [[sequence] for sequence in together[0]]
    expected, gradient = outcome(model, "rows", together)
    rows, failed = [], []
    for name, batches in [("rows", one_by_one), *((kernel, together) for kernel in KERNELS[device])]:
        logprobs, other = outcome(model, name, batches)
        distance = float((logprobs - expected).abs().max())
        mean = float((logprobs - expected).abs().mean())
        relative = float((other - gradient).norm() / gradient.norm())
        label = "rows, one by one" if name == "rows" else name
        rows.append([label, f"{distance:.4f}", f"{mean:.5f}", f"{relative:.4f}"])
        if not distance <= HALF_PRECISION_TOLERANCE_NATS:
            failed.append(label)
    print_table(
        f"Distance from rows, {model_name}, {setting}, bfloat16 ({describe_machine()})",
        ["computation", "log-prob, largest", "log-prob, mean", "gradient of layer 0, relative"],
        rows,
    )
    if failed:
        raise click.ClickException(f"Further than {HALF_PRECISION_TOLERANCE_NATS} nats: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
