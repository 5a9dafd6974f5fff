"""Devices and precisions: what `auto` means."""

from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import require


def resolve_device(device: str) -> str:
    """`cuda` where there is one, else `cpu`.

    Raises:
        UsageError: `cuda` was asked for and torch sees none.
    """
    torch = require("torch")
    available = bool(torch.cuda.is_available())
    if device == "cuda" and not available:
        raise UsageError("--device cuda: torch sees no CUDA device. Use --device cpu.")
    return ("cuda" if available else "cpu") if device == "auto" else device


def resolve_dtype(dtype: str, device: str) -> str:
    """`auto` is float32 on CPU, where nothing else is fast and exact, and the checkpoint's own precision on GPU."""
    return "float32" if dtype == "auto" and device == "cpu" else dtype
