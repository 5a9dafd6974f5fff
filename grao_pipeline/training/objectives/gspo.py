"""GSPO: GRPO's loss with the ratio of the whole sample, and its narrow clip."""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.clipped import ClippedArguments
from grao_pipeline.training.objectives.grpo import Grpo


class GspoArguments(ClippedArguments):
    """GRPO's arguments with the defaults of GSPO."""

    ratio: Literal["sequence"] = argument("sequence", "The geometric mean of the sample's ratios.")
    clip_low: float = argument(3e-4, "The ratio is clipped to at least 1 − clip_low.", ge=0.0, le=1.0)
    clip_high: NonNegativeFloat = argument(4e-4, "The ratio is clipped to at most 1 + clip_high.")


@method(
    "arXiv 2507.18071",
    "L = (1/G) Σ_i −min(s_i Â_i, clip(s_i, 1 − clip_low, 1 + clip_high) Â_i)        s_i = exp(mean_t log r_t)",
    needs="behavior log-probs",
)
class Gspo(Grpo):
    """GSPO: the importance ratio of whole samples, clipped to the paper's narrow band; `grpo` with `ratio=sequence`."""

    Arguments: ClassVar[type[ClippedArguments]] = GspoArguments
