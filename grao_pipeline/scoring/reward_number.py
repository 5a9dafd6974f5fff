"""The numbers that a reward may give."""

from grao_pipeline.schemas import LARGEST_FLOAT32


def finite_float32(value: object) -> float | None:
    """The finite float32 that a Python number, or a numpy or torch array with one element, holds; else None."""
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()
        except (TypeError, ValueError, RuntimeError):  # an array with several elements; torch raises RuntimeError
            return None
    return float(value) if isinstance(value, int | float) and abs(value) <= LARGEST_FLOAT32 else None
