"""Losses of pairs in which only the tokens count whose log-probs have moved the furthest."""

from dataclasses import replace

import torch

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.objectives.pairwise import Pairwise, PairwiseArguments


class SparsePairArguments(PairwiseArguments):
    """Arguments of the pair losses, and how many tokens count."""

    share: float = argument(..., "Share of the tokens of each sequence that count.", gt=0.0, le=1.0, examples=[0.2])


@method(
    "after arXiv 2410.05102 (SparsePO)",
    "the losses of pairwise with u = Σ_t m_t log r_t\nm_t = 1 for the ⌈share · |o|⌉ tokens of the largest |log r_t|",
    needs="rewards and behavior log-probs, or --logprobs with against=NAME",
)
class SparsePair(Pairwise):
    """Prefers winners to losers by a few tokens of each, chosen by a heuristic: SparsePO trains its masks instead.

    Of equal ratios all count, so that the first step at the reference model is that of `pairwise`.
    """

    Arguments = SparsePairArguments
    arguments: SparsePairArguments

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        moved = inputs.log_ratios_to(self.arguments.against).detach().abs()
        moved = torch.where(inputs.token_mask, moved, -1.0)
        counts = (self.arguments.share * inputs.token_mask.sum(dim=1)).ceil().long().clamp(min=1)  # [S]
        smallest = moved.sort(dim=1, descending=True).values.gather(1, counts[:, None] - 1)
        mask = (moved >= smallest).to(inputs.token_weights.dtype)
        return super().__call__(replace(inputs, token_weights=inputs.token_weights * mask))
