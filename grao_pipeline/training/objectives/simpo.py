"""SimPO: pairs by mean log-probs, without a reference model."""

from pydantic import NonNegativeFloat, PositiveFloat
from torch.nn.functional import logsigmoid

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.pairs import PairArguments, choose_pairs, pair_sums


@method("arXiv 2405.14734", "L = −log σ(β (ℓ(o⁺) − ℓ(o⁻)) − gamma)", needs="rewards")
class Simpo(Objective):
    """Prefers winners to losers of a group by their mean log-probs, with a margin and without a reference model."""

    class Arguments(PairArguments):
        simpo_beta: PositiveFloat = argument(2.0, "Scale of the difference.")
        gamma: NonNegativeFloat = argument(1.0, "Margin of the scaled difference; the paper has 0.5 β to 1.6 β.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        likelihood = inputs.weighted_mean_logprobs()
        chosen = choose_pairs(inputs, self.arguments)
        margins = self.arguments.simpo_beta * (likelihood[chosen.winners] - likelihood[chosen.losers])
        losses = -logsigmoid(margins - self.arguments.gamma)
        return ObjectiveOutputs((chosen.weights * losses).sum(), pair_sums(margins, chosen.weights))
