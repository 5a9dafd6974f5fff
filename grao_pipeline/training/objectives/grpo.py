"""GRPO (arXiv 2402.03300, Eq. 3), or with `ratio=sequence` GSPO (arXiv 2507.18071), on stored samples.

Per group, to be minimized, with the loss per token of `clipped.py`:

    L = (1/G) Σ_i (1/|o_i|) Σ_t loss_t

This is `loss_type="grpo"` of TRL where all groups have the same number of samples; where they have not, every group
counts alike here, and every sample there.
"""

from collections.abc import Mapping

from grao_pipeline.training.objectives.base import NO_ARGUMENTS, ObjectiveInputs, ObjectiveOutputs, take_arguments
from grao_pipeline.training.objectives.clipped import DEFAULTS, ClippedLoss


class Grpo:
    """GRPO. Needs the behavior log-probs of every trained sample; references are not trained on.

    Arguments: `ratio` (`token` or `sequence`), `clip_low` and `clip_high` (0.2), `kl` (0: coefficient of the KL
    penalty against the behavior policy), `unbiased_kl` (`yes` or `no`). Advantages are the table's:
    `grao advantages --statistics samples` is GRPO's.
    """

    needs_behavior_logprobs = True
    uses_beta_and_lambda = False

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0, arguments: Mapping[str, str] = NO_ARGUMENTS) -> None:
        self.token_losses = ClippedLoss.parse("grpo", take_arguments("grpo", arguments, **DEFAULTS))

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        tokens = self.token_losses(inputs)
        share = inputs.sample_share()
        return ObjectiveOutputs(
            (share * inputs.mean_over_tokens(tokens.loss)).sum(),
            {
                "clipped": (share * inputs.mean_over_tokens(tokens.is_clipped)).sum(),
                "kl_penalty": (share * inputs.mean_over_tokens(tokens.penalty)).sum(),
            },
        )
