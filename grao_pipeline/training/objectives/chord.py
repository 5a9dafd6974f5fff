"""CHORD (arXiv 2508.11408): GRPO on the samples and, at the same time, weighted imitation of the references.

Per group, to be minimized:

    L = (1 − mu) · L_GRPO + mu · L_SFT        L_SFT = −(1/|y|) Σ_t φ_t log π_θ(y_t)

L_GRPO is that of `grpo.py`. With `phi=true` (CHORD-φ), φ_t = p_t (1 − p_t) with p_t = π_θ(y_t): tokens that the policy
is sure of, or holds for impossible, teach little, so that a reference does not overwrite what the policy can. φ is a
weight; no gradient flows through it. With `phi=false`, φ_t = 1, and `mu` is all there is: CHORD-μ lowers it from 0.9 to
0.05 in the course of the training: `--objective-arg mu='linear(0.9, 0.05)'`.
"""

import torch
from torch import Tensor

from grao_pipeline.arguments import argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.clipped import ClippedArguments, token_losses


@method(
    "arXiv 2508.11408",
    "L = (1 − mu) · L_GRPO − mu · mean_t [ φ_t log π_θ(y_t) ],  φ_t = p_t (1 − p_t), or 1 with phi=false",
    needs="behavior log-probs, references",
)
class Chord(Objective):
    """CHORD: GRPO's clipped loss on the samples, mixed with an imitation of the references that is weighted per token.

    Needs the behavior log-probs of every trained sample, and references that have an advantage (of any value). A group
    without a reference has L_SFT = 0.
    """

    class Arguments(ClippedArguments):
        mu: float = argument(0.1, "Share of the imitation in the loss.", ge=0.0, le=1.0)
        phi: bool = argument(True, "Weigh every token of a reference by p (1 − p), p its probability.")

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True, needs_references=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        tokens = token_losses(self.arguments, inputs)
        share = inputs.sample_share()  # [S]
        of_samples = (share * inputs.mean_over_tokens(tokens.loss)).sum()
        imitated = inputs.mean_over_tokens(self._weights(inputs) * inputs.token_weights * inputs.token_logprobs)  # [S]
        of_references = -torch.where(inputs.is_reference, imitated, 0.0).sum()
        mu = self.arguments.mu
        return ObjectiveOutputs(
            (1 - mu) * of_samples + mu * of_references,
            {
                "grpo_loss": of_samples.detach(),
                "sft_loss": of_references.detach(),
                "clipped": (share * inputs.mean_over_tokens(tokens.is_clipped)).sum(),
            },
        )

    def _weights(self, inputs: ObjectiveInputs) -> Tensor:
        """φ of every token, without a graph. [S, L]"""
        probabilities = inputs.token_logprobs.detach().exp()
        return probabilities * (1 - probabilities) if self.arguments.phi else torch.ones_like(probabilities)
