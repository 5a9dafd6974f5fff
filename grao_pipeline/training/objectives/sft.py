"""Supervised fine-tuning on the references alone: the baseline that every alignment method is compared with.

Per group, to be maximized:

    J = ℓ(y)

the mean log-prob per token of the reference; the mean over groups weighs every reference alike, however long it is.
"""

import torch

from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "the likelihood of references",
    "L = −ℓ(y)",
    needs="references with an advantage",
)
class Sft(Objective):
    """Likelihood of the references.

    Needs references that have an advantage (of any value); `grao advantages --keep-zero-variance` keeps those of groups
    whose rewards are all equal. A group without a reference counts as J = 0.
    """

    traits = Traits(is_linear=True, needs_references=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        return ObjectiveOutputs(-torch.where(inputs.is_reference, inputs.weighted_mean_logprobs(), 0.0).sum(), {})
