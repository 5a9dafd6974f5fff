"""What an objective needs from the tables, checked before a gradient is made without it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from grao_pipeline.errors import InputError
from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.objectives.base import Objective

if TYPE_CHECKING:  # a step needs no tables, and not what reads them
    from grao_pipeline.training.data.groups import TrainingSet


def check_data(objective: Objective, data: "TrainingSet", name: str) -> None:
    """Check every group that is to be trained on.

    Args:
        name: of the objective, for the message.

    Raises:
        InputError: something that the objective needs is missing; names the group.
    """
    traits, teacher = objective.traits, objective.top_tokens_of
    if not len(data):
        return
    lacking = set[int]()
    if objective.compares_with_behavior:
        lacking |= set(range(len(data))) - set(data.which("has_logprobs"))
    if traits.needs_rewards:
        lacking |= set(data.which("may_lack_rewards"))
    for index in sorted(lacking):
        check_sequences(objective, data[index].sequences)
    if teacher is not None:
        counts = data.num_top_tokens(teacher)
        if counts[0] == 0 or counts[0] != counts[-1]:
            raise InputError(
                f"Objective '{name}' compares with the likeliest tokens of '{teacher}', and its tables have "
                f"{' and '.join(map(str, counts))} of them. Compute each with the same grao logprobs … --top-k 16."
            )
    if traits.needs_references and not data.which("has_reference"):
        raise InputError(
            f"Objective '{name}' trains on references, and no group has one with an advantage. Give the prompts "
            "references, score them, and see `grao advantages --keep-zero-variance`."
        )


def check_sequences(objective: Objective, sequences: Sequence[TrainingSequence]) -> None:
    """Check that every sample has what the objective needs.

    Raises:
        InputError: names the first group that lacks it.
    """
    traits = objective.traits
    name = type(objective).__name__
    for sequence in sequences:
        if sequence.is_reference:
            continue
        if objective.compares_with_behavior and sequence.behavior_logprobs is None:
            raise InputError(
                f"Group {sequence.group_id} has a sample without completion_logprobs, and objective {name} compares "
                "with the policy that sampled. Sample with log-probs, or choose an objective without an importance "
                "ratio, e.g. grao."
            )
        if traits.needs_rewards and sequence.reward is None:
            raise InputError(
                f"Group {sequence.group_id} has a sample with an advantage but without a reward, and objective {name} "
                "needs rewards. Compute the advantages again, or choose an objective that uses advantages, e.g. grao."
            )
