"""What an objective needs from the shards, checked before a gradient is made of its absence."""

from collections.abc import Sequence

from grao_pipeline.errors import InputError
from grao_pipeline.training.data.groups import TrainingSequence, TrainingSet
from grao_pipeline.training.objectives.base import Objective

NEEDS = ("needs_behavior_logprobs", "needs_rewards", "needs_references")


def check_data(objective: Objective, data: TrainingSet, name: str) -> None:
    """Check every group that is to be trained on.

    Args:
        name: of the objective, for the message.

    Raises:
        InputError: something that the objective needs is missing; names the group.
    """
    if not any(_says(objective, need) for need in NEEDS) or not len(data):
        return
    has_reference = False
    for index in range(len(data)):
        sequences = data[index].sequences
        check_sequences(objective, sequences)
        has_reference |= sequences[0].group_has_reference
    if _says(objective, "needs_references") and not has_reference:
        raise InputError(
            f"Objective '{name}' trains on references, and no group has one with an advantage. Give the prompts "
            "references, score them, and see `grao advantages --keep-zero-variance`."
        )


def check_sequences(objective: Objective, sequences: Sequence[TrainingSequence]) -> None:
    """Check that samples have what the objective needs of each.

    Raises:
        InputError: names the first group that lacks it.
    """
    needs_behavior, needs_rewards = _says(objective, "needs_behavior_logprobs"), _says(objective, "needs_rewards")
    name = type(objective).__name__
    for sequence in sequences:
        if sequence.is_reference:
            continue
        if needs_behavior and sequence.behavior_logprobs is None:
            raise InputError(
                f"group {sequence.group_id} has a sample without completion_logprobs, and objective {name} compares "
                "with the policy that sampled. Sample with log-probs, or choose an objective without a ratio, as grao."
            )
        if needs_rewards and sequence.reward is None:
            raise InputError(
                f"group {sequence.group_id} has a sample with an advantage but without a reward, and objective {name} "
                "is made of rewards. Compute the advantages again, or choose an objective made of advantages, as grao."
            )


def _says(objective: Objective, need: str) -> bool:
    return bool(getattr(objective, need, False))
