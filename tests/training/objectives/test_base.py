"""The Objective seam: what an objective declares is known, and a misspelled declaration is an error."""

from typing import Any

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import load
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.objectives.base import TRAITS, FakeObjective, Objective, Traits

DECLARED = {
    "asymre": {"is_linear", "needs_rewards", "takes_corrections"},
    "bridged-pair": {"couples_group", "needs_references"},
    "cispo": {"needs_behavior_logprobs"},
    "dapo": {"needs_behavior_logprobs"},
    "disco": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
    "distillation": {"needs_behavior_logprobs"},
    "chord": {"needs_behavior_logprobs", "needs_references"},
    "dpo": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
    "dr-grpo": {"needs_behavior_logprobs"},
    "gkd": {"reads_top_tokens"},
    "sparse-pair": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
    "grao": {"is_linear", "takes_corrections", "uses_beta_and_lambda"},
    "grpo": {"needs_behavior_logprobs"},
    "gspo": {"needs_behavior_logprobs"},
    "kto": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
    "opmd": {"is_linear", "needs_rewards", "takes_corrections"},
    "orpo": {"couples_group", "needs_rewards"},
    "p3o": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
    "pairwise": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
    "ranked-list": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
    "rec": {"needs_behavior_logprobs"},
    "regression": {"couples_group", "needs_behavior_logprobs"},
    "sapo": {"needs_behavior_logprobs"},
    "sft": {"is_linear", "needs_references"},
    "simpo": {"couples_group", "needs_rewards"},
    "sppo": {"needs_behavior_logprobs", "needs_rewards"},
    "trpa": {"couples_group", "needs_behavior_logprobs", "needs_rewards"},
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_traits_of_every_objective(name: str) -> None:
    traits = load("objective", name, OBJECTIVES).traits
    assert {trait for trait in TRAITS if getattr(traits, trait)} == DECLARED[name]


def test_an_objective_without_declarations_has_no_trait_and_no_argument() -> None:
    assert Objective.traits == Traits()
    assert not any(getattr(Objective.traits, trait) for trait in TRAITS)
    assert not FakeObjective.Arguments.model_fields


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"is_linear": True}, "sets the class attribute 'is_linear'. Write: traits = Traits(is_linear=True)."),
        ({"is_linaer": True}, "sets the class attribute 'is_linaer'. It is not a trait."),
        ({"trait": Traits(is_linear=True)}, "sets 'trait' to its traits. Rename it to: traits."),
        ({"traits": {"is_linear": True}}, "traits must be a Traits(…), not {'is_linear': True}."),
    ],
)
def test_a_trait_outside_of_traits_is_an_error(attributes: dict[str, Any], message: str) -> None:
    """In the old way, or misspelled: it would have no effect."""
    with pytest.raises(UsageError) as caught:
        type("Mine", (FakeObjective,), attributes)
    assert caught.value.option == "objective"
    assert message in caught.value.message


def test_a_misspelled_trait_is_an_error() -> None:
    misspelled: dict[str, Any] = {"is_linaer": True}
    with pytest.raises(TypeError, match="is_linaer"):
        Traits(**misspelled)
