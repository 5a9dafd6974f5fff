"""A decoder's linear layers in float32 on CPU, by oneDNN.

On CPU torch multiplies float32 matrices with MKL and bfloat16 matrices with oneDNN. On an AMD EPYC with AVX-512 oneDNN
is faster at both: see `benchmarks/linear.py`.
"""

from typing import Protocol

import torch
from torch import Tensor, nn


def use_onednn(module: nn.Module) -> None:
    """Compute the linear layers of `module` with oneDNN where that is faster, if this torch has it.

    Results, weights and state dict stay the same.
    """
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if has_onednn and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        for layer in module.modules():
            if type(layer) is nn.Linear:  # not a subclass, e.g. with weights in 4 bits
                layer.__class__ = OneDnnLinear


class OneDnnLinear(nn.Linear):
    """`torch.nn.Linear`, except that products of float32 on CPU are computed by oneDNN."""

    def forward(self, input: Tensor) -> Tensor:
        float32 = input.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if float32 and input.is_cpu and input.numel() > 0:
            # As rows: the operation returns a view of more dimensions, which models could not change in place.
            output: Tensor = _linear(input.reshape(-1, self.in_features), self.weight, self.bias)
            return output.view(*input.shape[:-1], self.out_features)
        return super().forward(input)


@torch.library.custom_op("grao_pipeline::onednn_linear", mutates_args=())
def _linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """input · weightᵀ + bias. [..., in], [out, in], [out] → [..., out]"""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return product


@_linear.register_fake
def _(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return input.new_empty(*input.shape[:-1], weight.shape[0])


class _Context(Protocol):
    """What the two functions of the gradient share."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


def _save(ctx: _Context, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    input, weight = ctx.saved_tensors
    of_input, of_weight, of_bias = ctx.needs_input_grad
    rows = gradient.reshape(-1, weight.shape[0])
    return (
        _linear(gradient, weight.t(), None) if of_input else None,
        rows.t() @ input.reshape(-1, weight.shape[1]) if of_weight else None,  # MKL is as fast at these
        rows.sum(dim=0) if of_bias else None,
    )


_linear.register_autograd(_backward, setup_context=_save)
