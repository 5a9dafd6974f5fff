"""The state that a training resumes from, weights and optimizer, to disk and back.

A single process writes a file. A sharded training writes a directory, every rank its shards
(torch.distributed.checkpoint). Any number of ranks can read either. A LoRA training writes only its adapter, since
nothing else changes. No random state is saved: every step sets its seed.
"""

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from grao_pipeline.errors import InputError
from grao_pipeline.storage.atomic import sync
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.policy import Policy

if TYPE_CHECKING:
    from torch.distributed.checkpoint.state_dict import ValueType


def save_file(path: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Write the state of a policy that is not sharded."""
    torch.save(_state(policy, optimizer), path)
    sync(path)


def load_file(path: Path, policy: Policy, optimizer: torch.optim.Optimizer, ranks: Ranks) -> None:
    """Restore from the file of `save_file`; where the policy is sharded, rank 0 reads and sends. A collective.

    Raises:
        InputError: the file is damaged.
    """
    state = ranks.on_first(lambda: _read(path))
    _restore(policy, optimizer, state or {"model": {}, "optimizer": {}}, from_first_rank=ranks.is_sharded)


def save_shards(path: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Write the state of a sharded policy to a directory. A collective."""
    save(_state(policy, optimizer), storage_writer=FileSystemWriter(path))


def load_shards(path: Path, policy: Policy, optimizer: torch.optim.Optimizer, ranks: Ranks) -> None:
    """Restore from the directory of `save_shards`, every rank its shards. A collective where the policy is sharded.

    Raises:
        InputError: the directory is damaged.
    """
    state = _state(policy, optimizer)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # expected without other ranks
            load(state, checkpoint_id=path, no_dist=not ranks.is_sharded)
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        raise InputError(_damaged(path, cause)) from error
    _restore(policy, optimizer, state, from_first_rank=False)


def whole_weights(policy: Policy) -> "dict[str, ValueType]":
    """All weights of a sharded policy, by the model's names, on rank 0; empty elsewhere. A collective."""
    weights = get_model_state_dict(policy, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name.removeprefix("model."): value for name, value in weights.items()}


def _state(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, object]:
    trained = trained_names(policy)
    weights = get_model_state_dict(policy)
    return {
        "model": {name: weights[name] for name in trained},
        "optimizer": get_optimizer_state_dict(policy, optimizer, options=StateDictOptions(ignore_frozen_params=True)),
    }


def _restore(policy: Policy, optimizer: torch.optim.Optimizer, state: dict[str, Any], from_first_rank: bool) -> None:
    options = StateDictOptions(
        ignore_frozen_params=True, strict=False, full_state_dict=from_first_rank, broadcast_from_rank0=from_first_rank
    )
    set_model_state_dict(policy, state["model"], options=options)
    set_optimizer_state_dict(policy, optimizer, state["optimizer"], options=options)


def trained_names(policy: Policy) -> list[str]:
    """Names of the weights that are trained; of tied weights, the first name."""
    return [name for name, parameter in policy.named_parameters() if parameter.requires_grad]


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(_damaged(path, error)) from error
    return state


def _damaged(path: Path, error: BaseException) -> str:
    problem = (str(error).splitlines() or [repr(error)])[0]
    return f"{path} is damaged ({problem}). Delete it to start again from the first step."
