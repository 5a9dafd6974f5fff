"""The optimizer's state as part of a finished model, for a training that carries it on (torch.distributed.checkpoint).

Every rank writes its shards; any number of ranks can read them. It holds what the optimizer knows of every trained
weight. Where the model is saved in a lower precision than it is trained in, it also holds the trained weights: what a
step of a small learning rate changes is less than a rounding of bfloat16, and would be lost between two rounds.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.training.checkpoints.state import trained_names
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.policy import Policy

if TYPE_CHECKING:
    from torch.distributed.checkpoint.state_dict import ValueType

State = dict[str, Any]
"""`moments`: of every weight the tensors of its optimizer state, by name. `weights`: the weights themselves."""
PARTS = ("moments", "weights")
PARTIAL = StateDictOptions(ignore_frozen_params=True, strict=False)


def save_optimizer(
    directory: Path, policy: Policy, optimizer: torch.optim.Optimizer, ranks: Ranks, with_weights: bool
) -> None:
    """Write the state to a directory. A collective where the policy is sharded."""
    state: State = {"moments": _optimizer_state(policy, optimizer)["state"]}
    if with_weights:
        state["weights"] = _weights(policy)
    with _alone_is_expected():
        save(state, storage_writer=FileSystemWriter(directory), no_dist=not ranks.is_sharded)


def load_optimizer(directory: Path, policy: Policy, optimizer: torch.optim.Optimizer, ranks: Ranks) -> None:
    """Restore what `save_optimizer` wrote; settings such as the weight decay stay those of `optimizer`. A collective
    where the policy is sharded.

    Raises:
        InputError: a file is damaged.
        MismatchError: it is the state of other weights.
    """
    if not directory.is_dir():
        raise InputError(
            f"{directory} was deleted by grao rounds prune (or by keep: in the rounds). To carry it delete "
            f"{directory.parent} and train again, or begin with a new optimizer: --no-carry-optimizer."
        )
    current = _optimizer_state(policy, optimizer)
    state: State = {"moments": current["state"], "weights": _weights(policy)}
    try:
        stored = FileSystemReader(directory).read_metadata()
        wanted = _stored_part(state, stored, directory)
        with _alone_is_expected():
            load(wanted, checkpoint_id=directory, no_dist=not ranks.is_sharded)
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        raise InputError(f"{directory} is damaged ({cause}). Train the model again.") from error
    if "weights" in wanted:
        set_model_state_dict(policy, wanted["weights"], options=PARTIAL)
    restored = {"state": wanted["moments"], "param_groups": current["param_groups"]}
    set_optimizer_state_dict(policy, optimizer, restored, options=PARTIAL)


def _stored_part(state: State, stored: Metadata, directory: Path) -> State:
    """The entries of `state` that are stored: a weight that was never updated has no moments.

    Raises:
        MismatchError: a weight is unknown, or has another shape.
    """
    known = {_key(part, name) for part in PARTS for name in state[part]}
    wanted: State = {"moments": {}}
    for key, value in stored.state_dict_metadata.items():
        place = stored.planner_data[key]
        part, name = place[0], place[1]
        if _key(part, name) not in known:
            raise MismatchError(f"{directory} is the state of other weights: this model has no {name}.")
        target = state[part][name] if part == "weights" else state[part][name][place[2]]
        if isinstance(value, TensorStorageMetadata) and value.size != target.size():
            raise MismatchError(
                f"{directory} is the state of other weights: {name} has the shape {list(value.size)} there, and "
                f"{list(target.size())} in this model."
            )
        wanted.setdefault(part, {})[name] = state[part][name]
    return wanted


def _key(part: str, name: str) -> str:
    return f"{part} {name}"


def _optimizer_state(policy: Policy, optimizer: torch.optim.Optimizer) -> State:
    """State and settings of an optimizer, by the names of the weights; a new optimizer's is zero."""
    state: State = get_optimizer_state_dict(policy, optimizer, options=StateDictOptions(ignore_frozen_params=True))
    return state


def _weights(policy: Policy) -> "Mapping[str, ValueType]":
    weights = get_model_state_dict(policy)
    return {name: weights[name] for name in trained_names(policy)}


def _alone_is_expected() -> AbstractContextManager[None]:
    """No warning that this is a single process."""
    return warnings.catch_warnings(action="ignore")
