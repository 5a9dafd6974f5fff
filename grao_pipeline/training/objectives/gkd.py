"""Generalized knowledge distillation on the teacher's likeliest tokens."""

import math

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits

LARGEST = -1e-7
"""Log of the largest probability that K tokens have together: something is left for the others."""


@method(
    "arXiv 2306.13649 (GKD), on the teacher's top tokens",
    "L = (1/G) Σ_i mean_t D(t) + references · mean_t D_y(t)        P the teacher, Q the policy, at place t\n"
    "D = jsd KL(P‖M) + (1 − jsd) KL(Q‖M), M = jsd P + (1 − jsd) Q; KL(P‖Q) for jsd=0, KL(Q‖P) for jsd=1\n"
    "    over the teacher's K likeliest tokens and all others together as one",
    needs="--logprobs NAME=TABLE of grao logprobs --top-k K, on any samples with an advantage",
    options="--logprobs NAME=TABLE",
)
class Gkd(Objective):
    """Lowers a divergence between teacher and policy over the vocabulary, on the student's samples and on references.

    Neither rewards nor the values of advantages have an effect. What the K tokens leave out counts as one token, as in
    TRL, so that K = 1 is not trivially met. On samples of the student this is on-policy distillation.
    """

    class Arguments(PluginArguments):
        teacher: str = argument(..., "NAME of the --logprobs of the teacher.", examples=["NAME"])
        jsd: float = argument(0.5, "β of the generalized divergence: 0 forward KL, 1 reverse KL.", ge=0.0, le=1.0)
        references: NonNegativeFloat = argument(0.0, "Weight of the references, next to that of the samples of 1.")

    arguments: Arguments
    traits = Traits(reads_top_tokens=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        assert inputs.top_logprobs is not None
        assert inputs.teacher_top_logprobs is not None
        student, teacher = with_rest(inputs.top_logprobs), with_rest(inputs.teacher_top_logprobs)
        divergence = generalized_divergence(student, teacher, self.arguments.jsd)  # [S, L]
        share = inputs.sample_share()
        weights = share + self.arguments.references * inputs.is_reference
        loss = (weights * inputs.mean_over_tokens(divergence * inputs.token_weights)).sum()
        return ObjectiveOutputs(
            loss, {"teacher_divergence": (share * inputs.mean_over_tokens(divergence)).sum().detach()}
        )


def with_rest(logprobs: Tensor) -> Tensor:
    """Log-probs of K tokens, and that of all others together: [..., K] → [..., K + 1]."""
    together = logprobs.logsumexp(dim=-1, keepdim=True).clamp(max=LARGEST)
    return torch.cat([logprobs, (-together.expm1()).log()], dim=-1)


def generalized_divergence(student: Tensor, teacher: Tensor, jsd: float) -> Tensor:
    """D of two distributions, given by their log-probs [..., K]. [...]"""
    if jsd == 0.0:
        return _kl(teacher, student)
    if jsd == 1.0:
        return _kl(student, teacher)
    both = torch.stack([teacher + math.log(jsd), student + math.log(1 - jsd)])
    mixture = both.logsumexp(dim=0)
    return jsd * _kl(teacher, mixture) + (1 - jsd) * _kl(student, mixture)


def _kl(of: Tensor, to: Tensor) -> Tensor:
    return (of.exp() * (of - to)).sum(dim=-1)
