"""Notes under the summary of a training, see `grao_pipeline.notes`."""

from collections.abc import Iterator

from grao_pipeline.amounts import of, some
from grao_pipeline.training.options import TrainOptions

FEW_STEPS = 10
"""Optimizer steps."""
LEARNING_RATES = {"full": (5e-8, 1e-4), "LoRA": (5e-6, 5e-3)}
"""Lowest and highest usual learning rate, by the kind of training."""
USUAL_RATES = {"full": "1e-7 to 1e-5", "LoRA": "1e-5 to 5e-4"}


def few_steps(steps: int, groups: int, options: TrainOptions) -> Iterator[str]:
    """A training that is over before it begins, unless it is one of many short ones that carry their optimizer."""
    if steps < FEW_STEPS and not options.carry_optimizer and not options.save_optimizer:
        yield (
            f"{some(steps, 'optimizer step', 'optimizer steps')} ({groups:,} groups, {options.groups_per_step} per "
            "step): little can be learned. Lower --groups-per-step, raise --epochs, or sample more prompts."
        )


def learning_rate(rate: float, is_lora: bool) -> Iterator[str]:
    """A learning rate far from what the kind of training needs."""
    kind = "LoRA" if is_lora else "full"
    lowest, highest = LEARNING_RATES[kind]
    if not lowest <= rate <= highest:
        what = "a LoRA adapter" if is_lora else "all weights of a pretrained model"
        word = "low" if rate < lowest else "high"
        yield (
            f"--learning-rate {rate:g} is {word} for training {what}, where {USUAL_RATES[kind]} is usual"
            f"{': the weights will hardly move.' if word == 'low' else ': watch the objective and the KL.'}"
        )


def skipped_steps(skipped: int, steps: int) -> Iterator[str]:
    """Steps without an update."""
    if skipped:
        yield f"{of(skipped, steps, 'steps')} were skipped, because the loss or the gradient was not finite."


def no_imitation(trained_references: int, trained_groups: int) -> Iterator[str]:
    """GRAO without references."""
    if trained_groups and trained_references == 0:
        yield "No reference is trained on: GRAO's imitation term and regularizer are off."
