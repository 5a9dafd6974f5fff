"""Reg-GRPO: log-ratios regress on advantages."""

import torch
from pydantic import NonNegativeFloat, PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits

SMALLEST = 1e-24
"""Below this, all log-ratios of a group are equal but for rounding."""


@method(
    "arXiv 2506.07464",
    "L = (1/G) Σ_i (Â_i − e_i / eta)² + kl · k3\ne_i = Σ_t log r_t; with normalize=yes e is standardized in the group",
    needs="behavior log-probs and whole groups",
)
class Regression(Objective):
    """Moves each sample's log-ratio to its advantage.

    The paper's form, `normalize=yes`, does not see the size of e: any positive multiple of the advantages has loss 0,
    and it is 0/0 before the first step (here e = 0 then). So it bounds no step, and the plain form is the default. The
    printed sign of the paper's KL term would push away from the reference; here it pulls to it.
    """

    class Arguments(PluginArguments):
        eta: PositiveFloat = argument(1.0, "Scale of the log-ratio.")
        normalize: bool = argument(False, "Standardize e in the group, as the paper does.")
        kl: NonNegativeFloat = argument(0.0, "Weight of the divergence.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        log_ratios = inputs.log_ratios()
        values = (log_ratios * inputs.token_weights).sum(dim=1)
        penalties = inputs.mean_over_tokens(torch.exp(-log_ratios) - 1 + log_ratios)
        targets = values / self.arguments.eta
        if self.arguments.normalize:
            for rows in inputs.rows_of_groups():
                mine = values[rows]
                deviation = (mine - mine.mean()).pow(2).mean()
                is_constant = deviation < SMALLEST
                scaled = (mine - mine.mean()) / deviation.where(~is_constant, 1.0).sqrt()
                scaled = scaled.where(~is_constant, mine * 0.0)
                targets = targets.index_put((torch.tensor(rows, device=values.device),), scaled)
        share = inputs.sample_share()
        errors = (inputs.advantages - targets).where(~inputs.is_reference, values * 0.0)
        loss = (share * (errors**2 + self.arguments.kl * penalties)).sum()
        return ObjectiveOutputs(loss, {"error": (share * errors.detach() ** 2).sum()})
