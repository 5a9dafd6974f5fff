"""The bounds of `--correction`: which it has, and whether they are given; free of torch, for the planning of rounds."""

from grao_pipeline.errors import UsageError
from grao_pipeline.options import option_flag
from grao_pipeline.training.options import TrainOptions

BOUNDS: dict[str, dict[str, str]] = {
    "none": {},
    "truncated-is": {"ratio_cap": "cap"},
    "sequence-is": {"ratio_cap": "cap"},
    "mask-band": {"ratio_low": "low", "ratio_high": "high"},
}
"""Of every --correction: its options, and the arguments that they are of its function."""


def correction_bounds(options: TrainOptions) -> dict[str, float]:
    """The arguments of the correction's function.

    Raises:
        UsageError: a bound is missing, or is given and has no effect.
    """
    bounds = BOUNDS[options.correction]
    arguments = {}
    for bound in ("ratio_cap", "ratio_low", "ratio_high"):
        value = getattr(options, bound)
        if value is None and bound in bounds:
            raise UsageError(f"{options.correction} needs {option_flag(bound)}.", option="correction")
        if value is not None and bound not in bounds:
            users = [name for name, of_correction in BOUNDS.items() if bound in of_correction]
            raise UsageError(f"{value:g} applies only to --correction {' or '.join(users)}.", option=bound)
        if bound in bounds:
            arguments[bounds[bound]] = value
    return arguments
