"""What a forward pass stores for its backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def stored_for_backward(model: nn.Module) -> Iterator[dict[int, int]]:
    """While it is entered, the bytes of every storage that autograd saves, except those of the weights, by address."""
    weights = {_local(parameter).untyped_storage().data_ptr() for parameter in model.parameters()}
    stored: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = _local(tensor).untyped_storage()
        if storage.data_ptr() not in weights:
            stored[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield stored


def _local(tensor: Tensor) -> Tensor:
    """This rank's shard of a sharded one."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local
