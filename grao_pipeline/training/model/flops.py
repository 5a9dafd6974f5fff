"""Token, padding and floating-point operation counts of a training."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.onednn import use_onednn

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class StepCost:
    """Cost of any number of micro-batches.

    Attributes:
        tokens: number of tokens with the prompt repeated for every sequence, without padding.
        processed: number of tokens that the decoder processed, padding included.
        padding: number of padding tokens among them.
        predicted: number of sampled tokens and tokens of references, which the head processed.
        pairs: number of (query, key) pairs that attention needs in every layer and head.
    """

    tokens: int = 0
    processed: int = 0
    padding: int = 0
    predicted: int = 0
    pairs: int = 0

    def __add__(self, other: "StepCost") -> "StepCost":
        return StepCost(
            self.tokens + other.tokens,
            self.processed + other.processed,
            self.padding + other.padding,
            self.predicted + other.predicted,
            self.pairs + other.pairs,
        )


def cost_of(batch: PackedBatch, in_rows: bool) -> StepCost:
    """The cost of one micro-batch.

    Args:
        in_rows: every sequence was a padded row with its prompt.
    """
    sequences = [(layout.prompt_length, length) for layout in batch.layouts for length in layout.lengths]
    of_continuations = sum(prompt * length + length * (length + 1) // 2 for prompt, length in sequences)
    if in_rows:
        longest = max(prompt + length for prompt, length in sequences)
        processed = longest * len(sequences)
        of_prompts = sum(prompt * (prompt + 1) // 2 for prompt, _ in sequences)
        padding = processed - batch.num_unshared_tokens
    else:
        processed, padding = batch.num_tokens, 0
        of_prompts = sum(layout.prompt_length * (layout.prompt_length + 1) // 2 for layout in batch.layouts)
    return StepCost(batch.num_unshared_tokens, processed, padding, len(batch.targets), of_continuations + of_prompts)


@dataclass(frozen=True)
class FlopCounter:
    """Floating-point operations of forward and backward, counted as is usual for model FLOPs utilization.

    6 per weight of the decoder's matrices and processed token (2 forward, 4 backward; 4 in all where an adapter is
    trained and the weights are frozen), 6 per weight of the head and predicted token, 12 per (query, key) pair, layer
    and unit of the attention's width. Recomputation, norms, softmax and experts of a mixture are not counted, nor is
    attention where its width differs from layer to layer (`counts_attention`).
    """

    decoder_weights: int
    head_weights: int
    attention_width: int
    per_weight: int

    @classmethod
    def of(cls, model: "PreTrainedModel | PeftModel", has_adapter: bool) -> "FlopCounter":
        """The counter of a transformers model whose weights are not sharded yet."""
        head = getattr(model.get_output_embeddings(), "weight", None)
        embedding = getattr(model.get_input_embeddings(), "weight", None)
        matrices = {id(p): p for p in model.parameters() if p.dim() == 2 and p is not head and p is not embedding}
        return cls(
            decoder_weights=sum(math.prod(getattr(p, "quant_state", p).shape) for p in matrices.values()),
            head_weights=0 if head is None else head.numel(),
            attention_width=_attention_width(model.config.get_text_config()),
            per_weight=4 if has_adapter else 6,
        )

    @property
    def counts_attention(self) -> bool:
        """Whether the attention's width is known."""
        return self.attention_width > 0

    def flops(self, cost: StepCost) -> float:
        """Floating-point operations of this cost."""
        decoder = self.per_weight * self.decoder_weights * cost.processed
        return float(decoder + 6 * self.head_weights * cost.predicted + 12 * self.attention_width * cost.pairs)


def _attention_width(config: "PreTrainedConfig") -> int:
    """Heads times their width, over all layers; 0 where the config does not say it for the model as a whole.

    The count is only for the report: whatever a config does when it is asked, a training must not end by it.
    """
    try:
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        return int(config.num_hidden_layers * heads * width)
    except Exception:
        return 0


def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a plain matrix product on this device, the best of four."""
    size = 8192 if device.type == "cuda" else 384
    layer = nn.Linear(size, size, bias=False, device=device, dtype=dtype)
    use_onednn(layer)
    rows = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(_seconds(layer, rows) for _ in range(4))


@torch.no_grad()
def _seconds(layer: nn.Module, rows: torch.Tensor) -> float:
    started = time.perf_counter()
    product = layer(rows)
    if product.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
