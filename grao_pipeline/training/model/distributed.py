"""Ranks: the processes that torchrun starts for one training, and the policy sharded over them (FSDP2).

A training that is started without torchrun is a single rank, for which nothing here costs anything.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from grao_pipeline.errors import GraoError, StoppedElsewhere, UsageError
from grao_pipeline.training.options import TrainOptions

if TYPE_CHECKING:
    from torch.distributed.checkpoint.state_dict import ValueType
    from torch.distributed.device_mesh import DeviceMesh

Result = TypeVar("Result")
PATIENCE = timedelta(hours=1)
"""How long ranks wait for rank 0 while it hashes, reads or writes all weights."""
# Messages of gloo and nccl on the ranks that were waiting for the one that failed.
SIGNS_OF_A_LOST_RANK = ("connection closed by peer", "connection reset by peer", "connection was likely closed")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the training."""

    rank: int
    """Rank 0 writes files and prints."""
    size: int
    device: torch.device
    is_sharded: bool
    """Whether weights, gradients and optimizer state are sharded over the ranks."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Result) -> list[Result]:
        """The value of every rank, on every rank. A collective: all ranks must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def agreed(self, failure: GraoError) -> GraoError:
        """A failure that all ranks noticed alike: only rank 0 reports it."""
        return failure if self.is_first else StoppedElsewhere(f"Rank 0 stopped: {failure}")

    def on_first(self, call: Callable[[], Result]) -> Result | None:
        """Call on rank 0 alone; the others wait until it is done. A collective.

        Returns:
            on rank 0 what `call` returns; None on the others.

        Raises:
            GraoError: `call` raised it on rank 0.
            StoppedElsewhere: the same, on the others.
        """
        result: Result | None = None
        failure: GraoError | None = None
        if self.is_first:
            try:
                result = call()
            except GraoError as error:
                failure = error
        failure = self._broadcast(failure)
        if failure is not None:
            raise self.agreed(failure)
        return result

    def from_first(self, call: Callable[[], Result]) -> Result:
        """As `on_first`, but every rank gets what `call` returned on rank 0."""
        result: Any = self.on_first(call)
        broadcast: Result = self._broadcast(result)
        return broadcast

    def _broadcast(self, value: Result) -> Result:
        """The value of rank 0, on every rank."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


def asked_for() -> tuple[int, int]:
    """(rank, number of ranks) of this process, from torchrun's environment variables."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str, options: TrainOptions) -> Iterator[Ranks]:
    """The ranks of this training, connected: nccl between CUDA devices, gloo between CPUs.

    Raises:
        StoppedElsewhere: the connection to another rank is lost.
        UsageError: there are more ranks on this machine than CUDA devices.
    """
    rank, size = asked_for()
    if size == 1 and not options.cpu_offload:
        yield Ranks(0, 1, torch.device(device), is_sharded=False)
        return
    place = torch.device(device)
    if place.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"Rank {rank} has no CUDA device: this machine has {torch.cuda.device_count()}. Start torchrun with "
                f"--nproc-per-node {torch.cuda.device_count()}, or use --device cpu."
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    backend = "gloo" if place.type == "cpu" else "cpu:gloo,cuda:nccl"
    # The group of a single process serves any other use in it as well: that of an engine, or a notebook.
    is_ours = size > 1 or not dist.is_initialized()
    if size > 1:
        dist.init_process_group(backend, timeout=PATIENCE)
    elif is_ours:
        dist.init_process_group(backend, store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1)
    try:
        yield Ranks(rank, size, place, is_sharded=True)
        gc.collect()  # Objects that hold the connections must not outlive them.
        dist.barrier()
    except RuntimeError as error:
        if any(sign in str(error).lower() for sign in SIGNS_OF_A_LOST_RANK):
            raise StoppedElsewhere(f"Rank {rank} lost another rank, which says why it stopped.") from error
        raise
    finally:
        if is_ours:
            dist.destroy_process_group()


def shard(policy: nn.Module, layers: list[nn.Module], ranks: Ranks, options: TrainOptions) -> None:
    """Shard a policy's weights over the ranks: layer by layer, the rest with the policy as the root.

    Decoder and head run in the policy's forward, so the head's weight is whole when the fused LM head reads it.
    """
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    settings: dict[str, Any] = {"mesh": _mesh(ranks, options)}
    if options.dtype == "bfloat16":
        settings["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    if options.cpu_offload:
        settings["offload_policy"] = CPUOffloadPolicy(pin_memory=ranks.device.type == "cuda")
    for layer in layers:
        fully_shard(layer, **settings)
    fully_shard(policy, **settings)
    for method in ("logprobs", "top_logprobs", "with_own_attention"):  # they run the model, too
        register_fsdp_forward_method(policy, method)


def send_weights(policy: nn.Module, whole: "dict[str, ValueType]", ranks: Ranks) -> None:
    """Give every rank its shard of the weights of rank 0.

    Args:
        whole: state dict of the policy before it was sharded; used only on rank 0.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    settings = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(policy, whole if ranks.is_first else {}, options=settings)


def _mesh(ranks: Ranks, options: TrainOptions) -> "DeviceMesh":
    from torch.distributed.device_mesh import init_device_mesh

    if options.shard == "full":
        return init_device_mesh(ranks.device.type, (ranks.size,))
    in_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return init_device_mesh(ranks.device.type, (ranks.size // in_node, in_node), mesh_dim_names=("replicate", "shard"))
