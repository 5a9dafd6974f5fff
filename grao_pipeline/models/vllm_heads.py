"""Runs inside vLLM's worker on a CPU: heads whose size its attention kernels lack are padded with zeros.

The result is the same: zeros add nothing to the product of a query and a key, the padding of the values is cut off, and
the scale of the scores is the model's own.
"""

from functools import wraps
from typing import TYPE_CHECKING

from torch import Size, Tensor, dtype
from torch.nn.functional import pad

from grao_pipeline.plugins import require

if TYPE_CHECKING:
    from vllm.model_executor.layers.attention.attention import Attention


def pad_heads() -> None:
    """Make the attention layers that vLLM builds from now on pad, where it computes on a CPU. Call it once."""
    if not require("vllm.platforms").current_platform.is_cpu():
        return
    attention = require("vllm.model_executor.layers.attention.attention").Attention
    backend = require("vllm.v1.attention.backends.cpu_attn").CPUAttentionBackend
    _pad(attention, backend.get_supported_head_sizes())


def padded_size(size: int, supported: list[int]) -> int:
    """The smallest supported size that heads of this size fit in.

    Example: `padded_size(16, [32, 64])` → 32

    Raises:
        ValueError: all are smaller.
    """
    fitting = [other for other in supported if other >= size]
    if not fitting:
        raise ValueError(
            f"The model's attention heads have {size} numbers, and vLLM's CPU build has kernels for up to "
            f"{max(supported)}. Sample with --engine transformers, or on a GPU."
        )
    return min(fitting)


def _pad(attention: "type[Attention]", supported: list[int]) -> None:
    plain_init, plain_forward = attention.__init__, attention.forward

    @wraps(plain_init)
    def init(self: "Attention", num_heads: int, head_size: int, *arguments: object, **named: object) -> None:
        is_plain = named.get("head_size_v") in (None, head_size)
        plain_init(self, num_heads, padded_size(head_size, supported) if is_plain else head_size, *arguments, **named)
        self.model_head_size = head_size

    @wraps(plain_forward)
    def forward(
        self: "Attention",
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        output_shape: Size | None = None,
        output_dtype: dtype | None = None,
    ) -> Tensor:
        size, padding = self.model_head_size, self.head_size - self.model_head_size
        output: Tensor
        if not padding:
            output = plain_forward(self, query, key, value, output_shape, output_dtype)
            return output
        padded = [
            None if states is None else pad(states.reshape(len(states), -1, size), (0, padding)).flatten(1)
            for states in (query, key, value)
        ]
        output = plain_forward(self, *padded, None, output_dtype).view(len(query), -1, self.head_size)[..., :size]
        return output.reshape(output_shape or (len(query), -1))

    attention.__init__, attention.forward = init, forward
