"""SAPO: a soft gate instead of a clip."""

from pydantic import PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2511.20347",
    "L = −(1/G) Σ_i mean_t (4/τ) σ(τ (r_t − 1)) Â_i        τ = tau_positive where Â > 0, else tau_negative",
    needs="behavior log-probs",
)
class Sapo(Objective):
    """Weighs tokens down smoothly as their ratio leaves 1, faster where they are pushed down."""

    class Arguments(PluginArguments):
        tau_positive: PositiveFloat = argument(1.0, "Steepness of the gate where the advantage is positive.")
        tau_negative: PositiveFloat = argument(1.05, "Steepness of the gate elsewhere.")

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        advantages = inputs.advantages[:, None] * inputs.token_weights
        steepness = advantages.new_tensor([self.arguments.tau_negative, self.arguments.tau_positive])
        tau = steepness[(advantages > 0).long()]
        gate = (tau * (inputs.log_ratios().exp() - 1)).sigmoid() * 4 / tau
        share = inputs.sample_share()
        return ObjectiveOutputs(-(share * inputs.mean_over_tokens(gate * advantages)).sum(), {})
