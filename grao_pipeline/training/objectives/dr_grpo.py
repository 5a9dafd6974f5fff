"""Dr. GRPO (arXiv 2503.20783): GRPO without the division by each sample's own length, which favors long failures.

Per group, to be minimized, with the loss per token of `clipped.py`:

    L = (1/G) Σ_i (1/max_completion_length) Σ_t loss_t

This is `loss_type="dr_grpo"` of TRL where all groups have the same number of samples. The paper also leaves out the
division of the advantages by σ: that is the estimator's part (`grao advantages --estimator`).
"""

from collections.abc import Mapping

from grao_pipeline.training.objectives.base import (
    NO_ARGUMENTS,
    ObjectiveInputs,
    ObjectiveOutputs,
    parse_number,
    take_arguments,
)
from grao_pipeline.training.objectives.clipped import DEFAULTS, ClippedLoss


class DrGrpo:
    """Dr. GRPO. Needs the behavior log-probs of every trained sample; references are not trained on.

    Arguments: those of `grpo`, and `max_completion_length`, which is required: it sets the loss's scale, so it must
    not depend on which samples a table happens to hold. The sampler's --max-new-tokens is what the paper takes.
    """

    needs_behavior_logprobs = True
    uses_beta_and_lambda = False

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0, arguments: Mapping[str, str] = NO_ARGUMENTS) -> None:
        taken = take_arguments("dr-grpo", arguments, **DEFAULTS, max_completion_length=None)
        self.token_losses = ClippedLoss.parse("dr-grpo", taken)
        name = "max_completion_length"
        self.max_completion_length = parse_number("dr-grpo", name, taken[name], lowest=1.0)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        tokens = self.token_losses(inputs)
        share = inputs.sample_share()
        scale = share / self.max_completion_length
        return ObjectiveOutputs(
            (scale * (tokens.loss * inputs.token_mask).sum(dim=1)).sum(),
            {
                "clipped": (share * inputs.mean_over_tokens(tokens.is_clipped)).sum(),
                "kl_penalty": (scale * (tokens.penalty * inputs.token_mask).sum(dim=1)).sum(),
            },
        )
