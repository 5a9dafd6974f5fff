"""GRAO's objective in weighted form: a signed, weighted likelihood (arXiv 2508.07750, Eq. 3).

Per group, to be maximized:

    J = (1/G) Σ_i [ Â_i ℓ(o_i)  +  β Â_y ℓ(y)  +  λ Â_i ( ℓ(o_i) − ℓ(y) ) ]
          exploration            imitation        alignment regularizer

Â does not depend on θ, so J = Σ_i w_i ℓ(o_i) + w_y ℓ(y) with one scalar weight per sequence:

    w_i = (1 + λ) Â_i / G        w_y = β Â_y − λ (1/G) Σ_i Â_i

Without a trained reference there is no ℓ(y): imitation and regularizer vanish and w_i = Â_i / G.

The paper's ablation "without exploration" needs a weight of the first term, too: `exploration` times Â_i ℓ(o_i), 1 in
the formula above, so that w_i = (exploration + λ) Â_i / G.
"""

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2508.07750, Eq. 3",
    "J = (1/G) Σ_i [ Â_i ℓ(o_i) + β Â_y ℓ(y) + λ Â_i (ℓ(o_i) − ℓ(y)) ]",
    needs="references with an advantage, for two of its three terms",
)
class Grao(Objective):
    """GRAO: exploration, imitation of the reference, and the alignment regularizer, as one weighted likelihood.

    Needs advantages of the samples and, for two of its three terms, of the reference.

    Args:
        beta: β, weight of the imitation term.
        lambda_: λ, weight of the alignment regularizer.
    """

    class Arguments(PluginArguments):
        exploration: NonNegativeFloat = argument(1.0, "Weight of the exploration term.")

    arguments: Arguments
    traits = Traits(is_linear=True, takes_corrections=True, uses_beta_and_lambda=True)

    def __init__(self, beta: float, lambda_: float, arguments: Arguments | None = None) -> None:
        super().__init__(arguments)
        self.beta = beta
        self.lambda_ = lambda_

    def weights(self, inputs: ObjectiveInputs) -> Tensor:
        """The signed weight of every sequence in J. [S]"""
        exploration, imitation, regularizer = self._component_weights(inputs)
        return exploration + imitation + regularizer

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        likelihood = inputs.weighted_mean_logprobs()
        parts = self._component_weights(inputs)
        loss = -(sum(parts) * likelihood).sum()
        detached = likelihood.detach()
        names = ("exploration", "imitation", "regularizer")
        return ObjectiveOutputs(loss, {name: (part * detached).sum() for name, part in zip(names, parts, strict=True)})

    def _component_weights(self, inputs: ObjectiveInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Weight of every sequence in each of the three terms. [S] each"""
        zero = torch.zeros_like(inputs.advantages)
        of_sample = torch.where(inputs.is_reference, zero, inputs.advantages / inputs.group_size.clamp(min=1))
        imitation = torch.where(inputs.is_reference, self.beta * inputs.advantages, zero)
        against_reference = torch.where(inputs.is_reference, -inputs.group_mean_advantage, of_sample)
        regularizer = torch.where(inputs.group_has_reference, self.lambda_ * against_reference, zero)
        return self.arguments.exploration * of_sample, imitation, regularizer
