"""DAPO's loss: every token of a group counts alike, and the clip is wider above."""

from pydantic import NonNegativeFloat

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.clipped import ClippedArguments, token_losses


@method(
    "arXiv 2503.14476",
    "L = (1 / Σ_i |o_i|) Σ_i Σ_t loss_t        the loss per token of grpo, clip_low 0.2, clip_high 0.28",
    needs="behavior log-probs",
)
class Dapo(Objective):
    """GRPO's loss averaged over all tokens of a group, so that long samples count as much as their tokens.

    DAPO's other parts: `--reshape overlong`, and `resample` in the rounds for groups without a signal. TRL and verl
    divide by the tokens of the whole batch instead of the group's; the paper's formula is per group, as here.
    """

    class Arguments(ClippedArguments):
        clip_high: NonNegativeFloat = argument(0.28, "The ratio is clipped to at most 1 + clip_high.")

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        tokens = token_losses(self.arguments, inputs)
        scale = inputs.token_share()
        return ObjectiveOutputs(
            (scale * tokens.loss).sum(),
            {"clipped": (scale * tokens.is_clipped).sum(), "kl_penalty": (scale * tokens.penalty).sum()},
        )
