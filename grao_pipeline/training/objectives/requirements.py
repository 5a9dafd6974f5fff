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
    traits = objective.traits
    needs_anything = (
        traits.needs_behavior_logprobs or traits.needs_rewards or traits.needs_references or traits.reads_top_tokens
    )
    if not needs_anything or not len(data):
        return
    lacking = []
    if objective.compares_with_behavior:
        lacking = sorted(set(range(len(data))) - set(data.which("has_logprobs")))
    if traits.needs_rewards:
        lacking = sorted({*lacking, *data.which("may_lack_rewards")})
    for index in lacking:
        check_sequences(objective, data[index].sequences)
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
        if objective.top_tokens_of is not None and objective.top_tokens_of not in sequence.top:
            raise InputError(
                f"Group {sequence.group_id}: objective {name} compares with the likeliest tokens of "
                f"'{objective.top_tokens_of}', and the table has none. Compute it with grao logprobs … --top-k 16."
            )
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
