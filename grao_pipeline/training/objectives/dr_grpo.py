"""Dr. GRPO (arXiv 2503.20783): GRPO without the division by each sample's length, which favors long failures.

Per group, to be minimized, with the loss per token of `clipped.py`:

    L = (1/G) Σ_i (1/max_completion_length) Σ_t loss_t

This is `loss_type="dr_grpo"` of TRL where all groups have the same number of samples. The paper also omits the
division of the advantages by σ: that is up to the estimator (`grao advantages --estimator`).
"""

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.clipped import ClippedArguments, token_losses


@method(
    "arXiv 2503.20783",
    "L = (1/G) Σ_i (1/max_completion_length) Σ_t loss_t        the loss per token of grpo",
    needs="behavior log-probs",
)
class DrGrpo(Objective):
    """Dr. GRPO: the loss of `grpo` summed over tokens and divided by a constant length.

    Needs the behavior log-probs of every trained sample; references are not trained on.
    """

    class Arguments(ClippedArguments):
        max_completion_length: float = argument(
            ...,
            "Length that every sample's loss is divided by, e.g. the sampler's --max-new-tokens. Required: it sets the "
            "scale of the loss, which must not depend on the samples that a table happens to hold.",
            ge=1.0,
            examples=[512],
        )

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        tokens = token_losses(self.arguments, inputs)
        share = inputs.sample_share()  # [S]
        scale = share / self.arguments.max_completion_length  # [S]
        return ObjectiveOutputs(
            (scale * (tokens.loss * inputs.token_mask).sum(dim=1)).sum(),
            {
                "clipped": (share * inputs.mean_over_tokens(tokens.is_clipped)).sum(),
                "kl_penalty": (scale * (tokens.penalty * inputs.token_mask).sum(dim=1)).sum(),
            },
        )
