"""KTO: single samples, each good or bad."""

from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2402.01306",
    "L = (1/G) Σ_i w_i (1 − σ(±kto_beta (u_i − z)))        + where R_i ≥ threshold, u_i = Σ_t log r_t\n"
    "z = max(0, mean of u over the group), a constant; 0 with baseline=none",
    needs="rewards and behavior log-probs, or --logprobs with against=NAME; --keep-zero-variance for one kind",
)
class Kto(Objective):
    """Raises desirable samples above a baseline and lowers the others; needs no pairs, so groups of one kind teach,
    too.

    The paper's baseline is the KL divergence over mismatched pairs of a batch. Here it is estimated from the group's
    own samples, which were drawn for this prompt: an estimate of the same divergence without other prompts'
    completions.
    """

    class Arguments(PluginArguments):
        kto_beta: PositiveFloat = argument(0.1, "Scale of the log-ratio.")
        threshold: float = argument(0.5, "From this reward on a sample is desirable.")
        desirable: NonNegativeFloat = argument(1.0, "Weight of desirable samples.")
        undesirable: NonNegativeFloat = argument(1.0, "Weight of the others.")
        baseline: Literal["group", "none"] = argument("group", "What a log-ratio is compared with.")
        against: str = argument("behavior", "What the log-ratio compares with: behavior, or the NAME of a --logprobs.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        arguments = self.arguments
        values = (inputs.log_ratios_to(arguments.against) * inputs.token_weights).sum(dim=1)
        baseline = torch.zeros_like(values)
        if arguments.baseline == "group":
            for rows in inputs.rows_of_groups():
                baseline[rows] = values.detach()[rows].mean().clamp(min=0)
        is_good = inputs.rewards >= arguments.threshold
        margin = arguments.kto_beta * (values - baseline)
        losses = 1 - torch.where(is_good, margin, -margin).sigmoid()
        share = inputs.sample_share()
        weights = share * share.new_tensor([arguments.undesirable, arguments.desirable])[is_good.long()]
        sums = {"desirable": (share * is_good).sum(), "baseline": (share * baseline).sum()}
        return ObjectiveOutputs((weights * losses).sum(), sums)
