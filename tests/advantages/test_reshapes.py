"""Reshapes and named filters, by hand-worked numbers."""

from typing import Any

import pytest

from grao_pipeline.advantages.filters import NAMED_FILTERS
from grao_pipeline.advantages.reshapes import RESHAPES
from grao_pipeline.errors import UsageError
from tests.advantages.views import Values, advantages, column, view_of

CASES: list[tuple[str, dict[str, Values], dict[str, Any], list[float | None]]] = [
    # from the least likely: −1, −0.7, −0.5, −0.2 → places 3, 0, 1, 2 of the samples over 4
    ("unlikely", {"reward.r": (1, 1, 0, 1), "mean_logprob": (-0.2, -1, -0.5, -0.7)}, {}, [0.8125, 1, 0, 0.9375]),
    ("unlikely", {"reward.r": (1, 1), "mean_logprob": (None, None)}, {"beta": 0.5}, [1, 1]),
    # n = 1: sin(π/2), sin(2π/3), a failure, sin(4π/5)
    ("optimal-cost", {"reward.r": (1, 1, 0, 1), "num_tokens": (1, 2, 0, 4)}, {}, [1, 0.8660254, 0, 0.5877853]),
    # n = 0: 1, cos(π/3), cos(2π/5)
    ("optimal-cost", {"reward.r": (1, 1, 1), "feature.c": (0, 1, 2)}, {"cost": "c"}, [1, 0.5, 0.3090170]),
    ("optimal-cost", {"reward.r": (0, 0.25), "num_tokens": (3, 5)}, {}, [0, 0.25]),
    (
        "contrast-bonus",
        {"reward.r": (1, 1, 1, 0), "feature.f": (1, 1, 0, 0)},
        {"feature": "f", "bonus": 0.5, "margin": 0.1},
        [1.5, 1.5, 1, 0],
    ),
    (
        "contrast-bonus",
        {"reward.r": (0, 1, 1, 1), "feature.f": (1, 1, 0, 0)},
        {"feature": "f", "bonus": 0.5, "margin": 0.1},
        [-0.5, 0.5, 1, 1],
    ),
    # 12 tokens: 2 of the 4 before the limit
    (
        "overlong",
        {"reward.r": (1, 1, 0, 1), "num_tokens": (9, 12, 14, 20)},
        {"limit": 14, "buffer": 4},
        [1, 0.5, -1, 0],
    ),
    ("class-mean", {"reward.r": (1, 0, 1, 1), "feature.k": (7, 7, 8, None)}, {"feature": "k"}, [0.5, 0.5, 1, 1]),
]


@pytest.mark.parametrize(("name", "columns", "arguments", "expected"), CASES)
def test_a_reshape_is_the_hand_worked_one(
    name: str, columns: dict[str, Values], arguments: dict[str, Any], expected: list[float | None]
) -> None:
    assert column("reshape", name, RESHAPES, view_of([columns]), **arguments) == pytest.approx(expected, abs=1e-6)


def test_every_reshape_has_a_hand_worked_case() -> None:
    assert {name for name, *_ in CASES} == set(RESHAPES)


def test_the_reference_keeps_its_reward_under_the_likelihood_rank() -> None:
    view = view_of([{"reward.r": (1, 1, 1), "mean_logprob": (None, -1, -0.5)}], reference=True)
    assert column("reshape", "unlikely", RESHAPES, view) == pytest.approx([1, 1, 0.875])


@pytest.mark.parametrize("name", ["unlikely", "optimal-cost"])
def test_a_factor_refuses_negative_rewards(name: str) -> None:
    view = view_of([{"reward.r": (-1, 1), "mean_logprob": (-1, -1), "num_tokens": (1, 2)}])
    with pytest.raises(UsageError, match=f"reshape: '{name}' multiplies rewards .* the lowest reward is -1"):
        column("reshape", name, RESHAPES, view)


def test_reshapes_come_before_the_statistics_and_in_order() -> None:
    """(1, 1, 0, 1) → unlikely (0.8125, 1, 0, 0.9375), whose mean is 0.6875."""
    view = view_of([{"reward.r": (1, 1, 0, 1), "mean_logprob": (-0.2, -1, -0.5, -0.7), "num_tokens": (5, 5, 5, 5)}])
    computed = advantages(view, estimator="dr-grpo", reshape=["unlikely"])
    assert computed == pytest.approx([0.125, 0.3125, -0.6875, 0.25])
    # The punishment of 1 first makes a failure negative, which the factor refuses.
    arguments = ["overlong.limit=5", "overlong.buffer=1"]
    with pytest.raises(UsageError, match="the lowest reward is -1"):
        advantages(view, estimator="dr-grpo", reshape=["overlong", "unlikely"], reshape_arg=arguments)
    shifted = advantages(view, estimator="dr-grpo", reshape=["unlikely", "overlong"], reshape_arg=arguments)
    assert shifted == pytest.approx(computed, abs=1e-6)


@pytest.mark.parametrize(("tau", "masked"), [(0.3, []), (0.42, [1])])
def test_indistinct_masks_samples_without_a_clear_rival(tau: float, masked: list[int]) -> None:
    """Scores (0.9, 0.5 | 0.45, 0.1): the farthest rivals are 0.8, 0.4, 0.45 and 0.8 away."""
    view = view_of([{"reward.r": (1, 1, 0, 0), "feature.s": (0.9, 0.5, 0.45, 0.1)}])
    arguments = ["indistinct.score=s", f"indistinct.tau={tau}"]
    computed = advantages(view, estimator="dr-grpo", filter=["indistinct"], filter_arg=arguments)
    assert [index for index, value in enumerate(computed) if value is None] == masked
    assert set(NAMED_FILTERS) == {"indistinct"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reshape": ["unlikly"]}, "reshape: unknown reshape 'unlikly'. Did you mean unlikely"),
        ({"reshape": ["unlikely", "unlikely"]}, "reshape: 'unlikely' is given twice"),
        ({"reshape_arg": ["unlikely.beta=1"]}, "reshape_arg: unlikely.beta=1: expected NAME.key=value.*none is given"),
        ({"reshape": ["unlikely"], "reshape_arg": ["beta=1"]}, "reshape_arg: beta=1: expected NAME.key=value"),
        (
            {"reshape": ["unlikely"], "reshape_arg": ["unlikely.beta=2"]},
            "reshape_arg: beta=2: .*less than or equal to 1",
        ),
        ({"reshape": ["unlikely"], "reshape_arg": ["unlikely.gamma=2"]}, "has no argument 'gamma'"),
        ({"reshape": ["overlong"]}, "reshape 'overlong' needs limit="),
        ({"filter": ["indistinct"]}, "filter 'indistinct' needs score="),
        ({"combine": "summ"}, "combine: unknown combination 'summ'. Did you mean sum"),
        ({"token_weights": ["conflict"]}, "token_weights: unknown token_weight 'conflict'"),
        ({"token_weights": ["salt", "items"]}, "token weight 'salt' needs scores="),
    ],
)
def test_a_wrong_name_or_argument_is_refused_with_its_option(options: dict[str, Any], message: str) -> None:
    view = view_of([{"reward.r": (1, 0), "mean_logprob": (-1, -1)}])
    with pytest.raises(UsageError, match=message):
        advantages(view, **options)
