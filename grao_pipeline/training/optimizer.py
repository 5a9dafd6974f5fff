"""The optimizers by name; those in 8 bits keep their two moments in a quarter of the memory."""

import importlib.util
from collections.abc import Iterable
from typing import Any

import torch

from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.plugins import require
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.options import TrainOptions


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], options: TrainOptions, ranks: Ranks
) -> torch.optim.Optimizer:
    """The optimizer of what is trained of `parameters`.

    Raises:
        MissingDependency: its package is not installed.
        UsageError: it does not work with sharded weights.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": (options.adam_beta1, options.adam_beta2),
        "weight_decay": options.weight_decay,
    }
    if options.optimizer == "adamw":
        return torch.optim.AdamW(trained, fused=True, **settings)
    made: torch.optim.Optimizer = _in_8_bits(options.optimizer, ranks)(trained, **settings)
    return made


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set it in place where the optimizer keeps it in a tensor, as those do that compile their update."""
    for parameters in optimizer.param_groups:
        if isinstance(parameters["lr"], torch.Tensor):
            parameters["lr"].fill_(rate)
        else:
            parameters["lr"] = rate


def _in_8_bits(name: str, ranks: Ranks) -> Any:
    if name == "adamw-8bit" and importlib.util.find_spec("torchao"):
        return require("torchao.optim").AdamW8bit
    if ranks.is_sharded:
        raise UsageError(
            f"--optimizer {name}: bitsandbytes does not take sharded weights. Use adamw-8bit with torchao."
        )
    if not importlib.util.find_spec("bitsandbytes"):
        package = "bitsandbytes" if name.startswith("paged") else "torchao"
        raise MissingDependency(
            f"--optimizer {name} needs {package}, which is not installed. Run: pip install {package}"
        )
    optimizers = require("bitsandbytes.optim")
    if not name.startswith("paged"):
        return optimizers.AdamW8bit
    if ranks.device.type != "cuda":
        raise UsageError(f"--optimizer {name} pages between GPU and CPU memory. Without a GPU, use adamw-8bit.")
    return optimizers.PagedAdamW8bit
