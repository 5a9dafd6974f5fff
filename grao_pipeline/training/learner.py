"""What an optimizer step does to a policy: add its gradient, clip it, update the weights."""

import torch

from grao_pipeline.errors import StageFailure
from grao_pipeline.training.gradient import GradientAccumulator
from grao_pipeline.training.model.memory import out_of_memory_is
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.optimizer import set_learning_rate


class Learner:
    """A policy, its optimizer, and the accumulator of its gradient.

    Args:
        max_grad_norm: the gradient's norm is clipped to this; 0 for no clipping.
    """

    def __init__(
        self,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        gradient: GradientAccumulator,
        max_grad_norm: float,
    ) -> None:
        self.policy = policy
        self.optimizer = optimizer
        self.gradient = gradient
        self._max_grad_norm = max_grad_norm

    def clip(self) -> float:
        """Clip the gradient over all ranks, where it is finite; its norm before that."""
        from torch.distributed.tensor import DTensor

        trained = [parameter for parameter in self.policy.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self._max_grad_norm and bool(norm.isfinite()):
            torch.nn.utils.clip_grads_with_norm_(trained, self._max_grad_norm, norm)
        return float(norm)

    def update(self, learning_rate: float) -> None:
        """Let the optimizer change the weights.

        Raises:
            StageFailure: out of memory; the first update allocates the optimizer's moments.
        """
        failure = StageFailure(
            "Out of memory in the optimizer's update, whose two moments take twice the trained weights. To make it "
            "fit: train an adapter with --lora-rank 16; use --optimizer adamw-8bit; use --cpu-offload."
        )
        set_learning_rate(self.optimizer, learning_rate)
        with out_of_memory_is(lambda: failure):
            self.optimizer.step()

    def clear_gradient(self) -> None:
        """Free the gradient."""
        self.optimizer.zero_grad(set_to_none=True)
