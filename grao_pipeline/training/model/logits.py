"""What a causal language model does to its logits after the LM head: a factor, a soft cap.

Families name these in different ways in their configs, and two use one name for opposite things (Granite divides by
`logits_scaling`, HyperCLOVA X multiplies). So they are measured: for one forward pass the head returns known values.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

SMALL, LARGE = 1e-4, 1e6
"""Raw logits where a soft cap has no effect yet, and where nothing else is left."""
UNCAPPED = 1e5
"""Logits above this are not capped."""


@dataclass(frozen=True)
class LogitTransform:
    """logits = softcap · tanh(scale · raw / softcap), or scale · raw without a cap."""

    scale: float = 1.0
    softcap: float | None = None


@torch.no_grad()
def measure_logit_transform(model: "PreTrainedModel | PeftModel") -> LogitTransform:
    """The transform of a transformers (or peft) model; the identity where it has another form.

    Only the self-check knows whether the model does something else, too.
    """
    head = model.get_output_embeddings()
    if head is None or not hasattr(head, "weight"):
        return LogitTransform()
    raw = torch.tensor([SMALL, LARGE])
    seen = _after_the_head(model, head, raw)
    if seen is None or not bool(seen.isfinite().all()) or float(seen[0]) <= 0:
        return LogitTransform()
    scale = _plain(float(seen[0]) / SMALL)
    largest = float(seen[1])
    return LogitTransform(scale, None if largest > scale * UNCAPPED else _plain(largest))


def _after_the_head(model: "PreTrainedModel | PeftModel", head: Any, values: Tensor) -> Tensor | None:
    """The logits of the model [K] where its head returns these values; None where it does not call the head."""
    size = int(head.weight.shape[0])
    raw = torch.zeros(1, 1, size, dtype=torch.float64)
    raw[0, 0, : len(values)] = values.to(raw.dtype)
    was_called = False

    def forward(hidden: Tensor, *_: object, **__: object) -> Tensor:
        nonlocal was_called
        was_called = True
        return raw.to(hidden.device).expand(*hidden.shape[:-1], size)

    training, before = model.training, head.__dict__.get("forward")
    model.eval()
    head.forward = forward
    try:
        device = next(model.parameters()).device
        output = model(input_ids=torch.ones(1, 1, dtype=torch.long, device=device), use_cache=False)
    finally:
        del head.forward
        if before is not None:
            head.forward = before
        model.train(training)
    return output.logits[0, -1, : len(values)].double().cpu() if was_called else None


def _plain(value: float) -> float:
    """The number that a config holds, without the rounding of the measurement: 30.000001 → 30."""
    for candidate in (float(f"{value:.5g}"), 1 / float(f"{1 / value:.5g}")):
        if abs(value - candidate) < 1e-6 * abs(value):
            return candidate
    return value
