"""CISPO: the importance ratio is capped instead of the update."""

from pydantic import PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2506.13585",
    "L = −(1 / Σ_i |o_i|) Σ_i Σ_t min(r_t, cap)° Â_i log π(t)        ° without a gradient",
    needs="behavior log-probs",
)
class Cispo(Objective):
    """A likelihood weighted by capped ratios: no token drops out of the gradient. The cap is TRL's."""

    class Arguments(PluginArguments):
        cap: PositiveFloat = argument(5.0, "Largest importance ratio.")

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        ratio = inputs.log_ratios().detach().exp()
        weights = ratio.clamp(max=self.arguments.cap) * inputs.advantages[:, None] * inputs.token_weights
        share = inputs.token_share()
        capped = (share * (ratio > self.arguments.cap)).sum()
        return ObjectiveOutputs(-(share * weights * inputs.token_logprobs).sum(), {"capped": capped})
