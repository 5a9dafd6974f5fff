"""The optimizers by name; 8-bit optimizers store their two moments in a quarter of the memory."""

import importlib.util
from collections.abc import Iterable
from typing import Any

import torch

from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import require
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.options import TrainOptions


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], options: TrainOptions, ranks: Ranks
) -> torch.optim.Optimizer:
    """The optimizer of those of `parameters` that are trained.

    Raises:
        MissingDependency: its package is not installed.
        UsageError: it does not work with sharded weights, or on this device.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": (options.adam_beta1, options.adam_beta2),
        "weight_decay": options.weight_decay,
    }
    if options.optimizer == "adamw":
        return torch.optim.AdamW(trained, fused=True, **settings)
    optimizer: torch.optim.Optimizer = _optimizer_class_of_8_bits(options.optimizer, ranks)(trained, **settings)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; in place where it is a tensor, as in optimizers that compile their update."""
    for parameters in optimizer.param_groups:
        if isinstance(parameters["lr"], torch.Tensor):
            parameters["lr"].fill_(rate)
        else:
            parameters["lr"] = rate


def _optimizer_class_of_8_bits(name: str, ranks: Ranks) -> type[torch.optim.Optimizer]:
    chosen: type[torch.optim.Optimizer]
    if name == "adamw-8bit" and importlib.util.find_spec("torchao"):
        chosen = require("torchao.optim").AdamW8bit
        return chosen
    if ranks.is_sharded:
        raise UsageError(
            f"{name} of bitsandbytes does not work with sharded weights. Use adamw-8bit and install torchao.",
            option="optimizer",
        )
    if not importlib.util.find_spec("bitsandbytes"):
        require("bitsandbytes" if name.startswith("paged") else "torchao")
    optimizers = require("bitsandbytes.optim")
    if name.startswith("paged") and ranks.device.type != "cuda":
        raise UsageError(f"{name} pages between GPU and CPU memory. Without a GPU, use adamw-8bit.", option="optimizer")
    chosen = optimizers.PagedAdamW8bit if name.startswith("paged") else optimizers.AdamW8bit
    return chosen
