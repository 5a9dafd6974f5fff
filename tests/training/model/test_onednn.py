"""Linear layers by oneDNN compute, and differentiate, what torch's do."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from grao_pipeline.training.model.onednn import use_onednn


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which operators were called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def by_onednn(layer: nn.Linear) -> nn.Linear:
    layer = copy.deepcopy(layer)
    use_onednn(layer)
    return layer


def goes_to_onednn(layer: nn.Linear, input: Tensor) -> bool:
    with Operators() as seen:
        layer(input)
    return any("onednn" in name for name in seen.names)


def gradients(layer: nn.Linear, input: Tensor) -> list[Tensor]:
    """Of the input, where it asks for one, and of the layer's parameters that are trained."""
    out = layer(input)
    leaves = [leaf for leaf in [input, *layer.parameters()] if leaf.requires_grad]
    slopes = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, leaves, slopes)]


@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    has_bias=st.booleans(),
    trained=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_output_and_gradients_are_those_of_float64(
    shape: list[int], inputs: int, outputs: int, has_bias: bool, trained: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(inputs, outputs, bias=has_bias).requires_grad_(trained)
    # Not contiguous: every second row.
    rows = torch.randn(2, *shape, inputs).transpose(0, -2).contiguous().transpose(0, -2)[0].requires_grad_()

    found = gradients(by_onednn(layer), rows)

    expected = gradients(layer.double(), rows.detach().double().requires_grad_())
    assert [one.dtype for one in found] == [torch.float32] * len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_float32_goes_to_onednn_and_nothing_else_does() -> None:
    layer = nn.Linear(8, 4)
    rows = torch.randn(3, 8)
    assert goes_to_onednn(by_onednn(layer), rows)
    assert not goes_to_onednn(layer, rows)
    for dtype in (torch.float64, torch.bfloat16):
        assert not goes_to_onednn(by_onednn(layer).to(dtype), rows.to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not goes_to_onednn(by_onednn(layer), rows)


def test_only_plain_linear_layers_are_changed() -> None:
    class Quantized(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(2, 2), Quantized(2, 2), nn.LayerNorm(2))
    names = list(model.state_dict())

    use_onednn(model)

    assert isinstance(model[0], nn.Linear)
    assert type(model[0]) is not nn.Linear
    assert type(model[1]) is Quantized
    assert list(model.state_dict()) == names
