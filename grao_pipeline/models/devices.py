"""Devices and precisions: what `auto` means, and which process gets which device."""

import os
from collections.abc import Sequence
from typing import Literal, TypeVar

from grao_pipeline.errors import UsageError
from grao_pipeline.options import Device, Processes
from grao_pipeline.plugins import require

DtypeName = TypeVar("DtypeName", bound=str)


def resolve_device(device: Device) -> Literal["cpu", "cuda"]:
    """`auto` is `cuda` where torch finds a CUDA device, else `cpu`.

    Raises:
        UsageError: the device is `cuda`, and torch finds no CUDA device.
    """
    is_available = bool(require("torch").cuda.is_available())
    if device == "cuda" and not is_available:
        raise UsageError("torch finds no CUDA device on this machine. Use cpu.", option="device")
    if device == "auto":
        return "cuda" if is_available else "cpu"
    return device


def resolve_dtype(dtype: DtypeName, device: Device) -> DtypeName | Literal["float32"]:
    """`auto` is float32 on CPU, where no other precision is fast and exact; on GPU it stays `auto`: the checkpoint's
    precision.
    """
    return "float32" if dtype == "auto" and device == "cpu" else dtype


def device_sets(processes: Processes, device: Device, per_process: int) -> list[dict[str, str]]:
    """The environment of each process that shares a stage's work on this machine: its GPUs, or its share of threads.

    Example: `device_sets(2, "cuda", 2)` → `[{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}]`

    Args:
        processes: `auto` is as many as there are GPUs for, and one without GPUs.
        per_process: GPUs that each of them uses; 0 where they use none.

    Raises:
        UsageError: there are fewer GPUs than the processes need.
    """
    if processes == 1 or (processes == "auto" and not per_process):
        return [{}]
    if not per_process or resolve_device(device) == "cpu":
        if processes == "auto":
            return [{}]
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, num_cores() // processes)))
        return [{"OMP_NUM_THREADS": threads}] * processes
    return [{"CUDA_VISIBLE_DEVICES": names} for names in gpu_sets(processes, per_process, visible_gpus())]


def gpu_sets(processes: Processes, per_process: int, names: Sequence[str]) -> list[str]:
    """The GPUs of each process, as CUDA_VISIBLE_DEVICES names them; see `device_sets`."""
    count = max(1, len(names) // per_process) if processes == "auto" else processes
    if count * per_process > len(names):
        raise UsageError(
            f"{count} processes with {per_process} GPUs each need {count * per_process}; {len(names)} are visible.",
            option="processes",
        )
    return [",".join(names[number * per_process : (number + 1) * per_process]) for number in range(count)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES has for them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(require("torch").cuda.device_count())]


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
