"""Presets: a named choice of the method. Every part of one is an option that can be given alone, and is then the same.

- `paper`: the defaults, which are those of arXiv 2508.07750.
- `stable`: never push a reference down (`--reference-floor 0` of advantages), and never let a token of a sample count
  more than it did when it was sampled (`--correction truncated-is --ratio-cap 1` of train). Why: docs/evidence.md.
"""

from collections.abc import Mapping
from typing import Any, Literal

from grao_pipeline.options import option_flag, runtime

Preset = Literal["paper", "stable"]


def preset_option(stable: Mapping[str, object]) -> Any:
    """The field `preset` of an options model. It is not content: what it sets is.

    Args:
        stable: the options that `stable` sets.
    """
    flags = " ".join(
        f"{option_flag(name)} {value:g}" if isinstance(value, float) else f"{option_flag(name)} {value}"
        for name, value in stable.items()
    )
    return runtime("paper", f"Named choice of the method: stable is {flags}. Options that are given win over it.")


def with_preset(values: object, stable: Mapping[str, object]) -> object:
    """The values of an options model, with those of its preset where none is given.

    A part that another given option rules out is left out: the first option of `stable` decides over the others. None
    counts as not given, since a command line cannot say it.
    """
    if not isinstance(values, Mapping) or values.get("preset") != "stable":
        return values
    given = {name: value for name, value in values.items() if value is not None or name not in stable}
    leading = next(iter(stable))
    return {**stable, **given} if given.get(leading, stable[leading]) == stable[leading] else values
