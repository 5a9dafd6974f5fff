"""Devices and precisions: what `auto` means."""

from typing import Literal, TypeVar

from grao_pipeline.errors import UsageError
from grao_pipeline.options import Device
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
