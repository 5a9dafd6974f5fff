"""GRPO (arXiv 2402.03300, Eq. 3), or with `ratio=sequence` GSPO (arXiv 2507.18071), on stored samples.

Per group, to be minimized, with the loss per token of `clipped.py`:

    L = (1/G) Σ_i (1/|o_i|) Σ_t loss_t

This is `loss_type="grpo"` of TRL where all groups have the same number of samples; where they do not, every group
counts alike here, and every sample there.
"""

from typing import ClassVar

from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.clipped import ClippedArguments, token_losses


@method(
    "arXiv 2402.03300, Eq. 3",
    "L = (1/G) Σ_i mean_t [ −min(r_t Â_i, clip(r_t, 1 − clip_low, 1 + clip_high) Â_i) + kl · k3 ]",
    needs="behavior log-probs",
)
class Grpo(Objective):
    """GRPO: clipped importance ratio times advantage, averaged over the tokens of each sample.

    Needs the behavior log-probs of every trained sample; references are not trained on. Advantages are those of the
    table: `grao advantages --statistics samples` computes GRPO's.
    """

    Arguments: ClassVar[type[ClippedArguments]] = ClippedArguments
    arguments: ClippedArguments
    traits = Traits(needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        tokens = token_losses(self.arguments, inputs)
        share = inputs.sample_share()  # [S]
        return ObjectiveOutputs(
            (share * inputs.mean_over_tokens(tokens.loss)).sum(),
            {
                "clipped": (share * inputs.mean_over_tokens(tokens.is_clipped)).sum(),
                "kl_penalty": (share * inputs.mean_over_tokens(tokens.penalty)).sum(),
            },
        )
