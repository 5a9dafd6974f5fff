"""DisCO: positive samples above negative ones, within a trust region."""

from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2505.12366",
    "plain: L = −mean_P s + mean_N s        tail: L = −mean_P s + tau log mean_N exp(s / tau)\n"
    "        + beta0 max(KL − delta, 0)° KL        KL = mean of −log r_t over the group's tokens, ° a constant\n"
    "P, N the samples with R > threshold and the others; s = ℓ(o), or the mean of r_t with score=ratio",
    needs="rewards, behavior log-probs and whole groups",
)
class Disco(Objective):
    """Scores of right samples up, scores of wrong ones down, without clipping and without a bias by difficulty.

    The released code takes KL over a micro-batch, so its loss depends on the cut; here it is that of the group. A group
    without both kinds counts as 0.
    """

    class Arguments(PluginArguments):
        kind: Literal["tail", "plain"] = argument("tail", "tail is DisCO, plain its basic form.")
        score: Literal["likelihood", "ratio"] = argument("likelihood", "Score of a sample.")
        tau: PositiveFloat | None = argument(None, "Temperature of the tail; by default 10 (likelihood) or 1 (ratio).")
        delta: NonNegativeFloat = argument(1e-4, "KL divergence without a penalty.")
        beta0: NonNegativeFloat = argument(1000.0, "Scale of the penalty.")
        threshold: float = argument(0.5, "Samples with a higher reward are positive.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        arguments = self.arguments
        log_ratios = inputs.log_ratios()
        is_ratio = arguments.score == "ratio"
        scores = inputs.mean_over_tokens(log_ratios.exp()) if is_ratio else inputs.mean_logprobs()
        loss = (inputs.token_logprobs * 0.0).sum()
        divergence = torch.zeros_like(loss)
        for rows in inputs.rows_of_groups():
            is_good = inputs.rewards[rows] > arguments.threshold
            if is_good.all() or not is_good.any():
                continue
            mine = scores[rows]
            loss = loss - mine[is_good].mean() + self._negative(mine[~is_good])
            kl = -log_ratios[rows].sum() / inputs.token_mask[rows].sum()
            loss = loss + arguments.beta0 * (kl.detach() - arguments.delta).clamp(min=0) * kl
            divergence = divergence + kl.detach()
        return ObjectiveOutputs(loss, {"kl": divergence})

    def _negative(self, scores: Tensor) -> Tensor:
        if self.arguments.kind == "plain":
            return scores.mean()
        tau = self.arguments.tau or (1.0 if self.arguments.score == "ratio" else 10.0)
        return tau * (torch.logsumexp(scores / tau, dim=0) - torch.log(torch.tensor(len(scores), dtype=scores.dtype)))
