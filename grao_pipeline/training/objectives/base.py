"""The Objective seam: token log-probs and advantages in, loss and metrics out."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class ObjectiveInputs:
    """A micro-batch of S sequences of at most L tokens, any subset of the step's sequences.

    Shapes: `token_logprobs` [S, L] in nats, 0 at padding; `token_mask` [S, L], True at tokens of the continuation;
    `token_weights` [S, L], a factor per token, 1 where there is none; all others [S].
    """

    token_logprobs: Tensor
    token_mask: Tensor
    advantages: Tensor
    is_reference: Tensor
    group_size: Tensor
    group_mean_advantage: Tensor
    group_has_reference: Tensor
    token_weights: Tensor

    def mean_logprobs(self) -> Tensor:
        """ℓ(s): mean log-prob of the sequence's tokens, in nats per token. [S]"""
        return (self.token_logprobs * self.token_mask).sum(dim=1) / self.token_mask.sum(dim=1)

    def weighted_mean_logprobs(self) -> Tensor:
        """ℓ(s) with every token's log-prob multiplied by its weight. [S]"""
        return (self.token_logprobs * self.token_weights * self.token_mask).sum(dim=1) / self.token_mask.sum(dim=1)


@dataclass(frozen=True)
class ObjectiveOutputs:
    """The loss summed over the micro-batch's share of its groups (the trainer divides by the groups of the step), and
    further sums for the metrics, each a detached scalar."""

    loss: Tensor
    sums: dict[str, Tensor]


class Objective(Protocol):
    """Constructed as `Objective(beta=…, lambda_=…)`; a new objective is one class in one file and one line in
    `OBJECTIVES`. Its docstring says what it needs from the shards.

    It may have the attribute `is_linear = True`: its loss is linear in the log-probs, so that the head's gradient is
    made in the same pass; any other costs the head once more. And `couples_group = True`: it wants whole groups.
    """

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs: ...


class FakeObjective:
    """A public fake for tests: plain likelihood of every sequence, −Σ ℓ(s) / G."""

    is_linear = True

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0) -> None:
        pass

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        loss = -(inputs.mean_logprobs() / inputs.group_size.clamp(min=1)).sum()
        return ObjectiveOutputs(loss, {"likelihood": -loss.detach()})
