"""Supervised fine-tuning on the references alone: the baseline that any alignment is compared with.

Per group, to be maximized:

    J = ℓ(y)

the mean log-prob per token of the reference; the mean over groups weighs every reference alike, however long it is.
"""

from collections.abc import Mapping

import torch

from grao_pipeline.training.objectives.base import NO_ARGUMENTS, ObjectiveInputs, ObjectiveOutputs, take_arguments


class Sft:
    """Likelihood of the references. Needs references that have an advantage (of any value); `grao advantages
    --keep-zero-variance` keeps those of groups whose rewards are all equal. A group without one counts as J = 0."""

    is_linear = True
    needs_references = True
    uses_beta_and_lambda = False

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0, arguments: Mapping[str, str] = NO_ARGUMENTS) -> None:
        take_arguments("sft", arguments)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        return ObjectiveOutputs(-torch.where(inputs.is_reference, inputs.weighted_mean_logprobs(), 0.0).sum(), {})
