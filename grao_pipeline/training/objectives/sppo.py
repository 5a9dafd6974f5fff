"""SPPO and the loss of GPO: log-ratios regress on win rates."""

from typing import Literal

from pydantic import PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2405.00675; GPO: 2410.02197",
    "L = (1/G) Σ_i (Σ_t log r_t(o_i) − eta · (R_i − ½))²        target=score: eta · R_i, eta = 1/β",
    needs="win rates as rewards (judge-win-rate), and behavior log-probs",
)
class Sppo(Objective):
    """Moves each sample's log-ratio to its win rate in the group, the round's own policy being the reference.

    SPPO's script takes the mean over all K samples, itself included; `judge-win-rate` leaves it out: R' = (K R − ½)/(K
    − 1). Log-ratios are sums over tokens, and `eta` is on that scale.
    """

    class Arguments(PluginArguments):
        eta: PositiveFloat = argument(1000.0, "Scale of the target.")
        target: Literal["win-rate", "score"] = argument("win-rate", "What the rewards are.")
        against: str = argument("behavior", "What the log-ratio compares with: behavior, or the NAME of a --logprobs.")

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        values = (inputs.log_ratios_to(self.arguments.against) * inputs.token_weights).sum(dim=1)
        middle = 0.5 if self.arguments.target == "win-rate" else 0.0
        share = inputs.sample_share()
        errors = (values - self.arguments.eta * (inputs.rewards - middle)).where(~inputs.is_reference, values * 0.0)
        return ObjectiveOutputs((share * errors**2).sum(), {"error": (share * errors.detach()).sum()})
