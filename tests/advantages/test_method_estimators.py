"""Estimators and combinations of published methods, by hand-worked numbers."""

import math
from typing import Any

import pytest

from tests.advantages.views import Values, advantages, rewards, view_of

E = math.exp


def sigmoid(x: float) -> float:
    return 1 / (1 + E(-x))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # ±½ e^{±½}
        (["kind=weight"], [0.5 * E(0.5), -0.5 * E(-0.5)]),
        (["kind=weight", "temperature=0.5"], [0.5 * E(1), -0.5 * E(-1)]),
    ],
)
def test_red_weighs_by_the_exponential(arguments: list[str], expected: list[float]) -> None:
    computed = advantages(view_of([{"reward.r": (1, 0)}]), estimator="red", estimator_arg=arguments)
    assert computed == pytest.approx(expected)


def test_red_drops_surplus_failures() -> None:
    """Of (1, 0, 0, 0) two zeros are dropped; of (1, 1, 0) none is."""
    view = view_of([{"reward.r": (1, 0, 0, 0)}, {"reward.r": (1, 1, 0)}])
    computed = advantages(view, estimator="red", estimator_arg=["kind=drop"])
    assert computed == [0.5, -0.5, None, None, pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(-2 / 3)]


def test_copo_blends_local_and_global_advantages() -> None:
    """Group 1: four right, one answer (H = 0). Group 2: (0, 0, 0, 1), four answers (H = 2 bits). γ 5, ρ 1:
    w = σ(∓5); means 1 and ¼ → Â_glob = ±1/√2; Â_loc of group 2: −½ three times and 1.5."""
    view = view_of(
        [
            {"reward.r": (1, 1, 1, 1), "feature.answers": (1, 1, 1, 1)},
            {"reward.r": (0, 0, 0, 1), "feature.answers": (0.25, 0.25, 0.25, 0.25)},
        ]
    )
    options: dict[str, Any] = {"estimator": "copo", "keep_zero_variance": True}
    arguments = ["gamma=5", "rho=1", "answers=answers"]
    blended = advantages(view, estimator_arg=arguments, **options)
    assert blended == pytest.approx([0.702374] * 4 + [-0.501386] * 3 + [1.485228], abs=5e-6)
    script = advantages(view, estimator_arg=[*arguments, "zero=global"], **options)
    assert script == pytest.approx([0.702374] * 4 + [-0.707107] * 3 + [1.485228], abs=5e-6)
    # Without answers the rewards are the answers: H = 0 and −¾ log₂ ¾ − ¼ log₂ ¼ = 0.811278 bits.
    weight = 1 / (1 + E(-5 * (0.811278 - 1)))
    (*_, last) = advantages(view, estimator_arg=["gamma=5", "rho=1"], **options)
    assert last == pytest.approx(weight * 1.5 + (1 - weight) * -0.707107, abs=1e-5)


def test_signed_by_takes_the_sign_from_one_reward_and_the_size_from_another() -> None:
    """p = ½, z = ∓1 in each class: right 1 ∓ ¼, wrong −(1 ± ¼)."""
    view = view_of([{"reward.r": (1, 1, 0, 0), "feature.aux": (0.2, 0.8, 0.1, 0.5)}])
    arguments = ["correct=reward.r", "aux=feature.aux"]
    computed = advantages(view, estimator="signed-by", estimator_arg=arguments)
    assert computed == pytest.approx([0.75, 1.25, -1.25, -0.75])
    # p = ¼: √3 for the right one, −√(1/3) for the others; κ = 9 cannot turn a sign.
    view = view_of([{"reward.r": (1, 0, 0, 0), "feature.aux": (0.3, 0, 0, 1)}])
    computed = advantages(view, estimator="signed-by", estimator_arg=[*arguments, "kappa=9"])
    assert computed[0] == pytest.approx(math.sqrt(3))
    assert all(value is not None and value <= 0 for value in computed[1:])
    # A right reference next to wrong samples alone: √((1 − p) / p) has no value, and the group no variance.
    view = view_of([{"reward.r": (1, 0, 0), "feature.aux": (0.5, 0.2, 0.3)}], reference=True)
    assert advantages(view, estimator="signed-by", estimator_arg=arguments) == [None] * 3


def test_hardness_scales_grpos_advantage() -> None:
    """Distances ½ and 0.1 (mean 0.3), gaps 0.4 and 0 (mean 0.2): α_D = σ(½)/σ(0.3), α_M = σ(0.4)/σ(0.2). Two samples
    of equal reward in a group have Â = 0, so each group has one more far below."""
    view = view_of(
        [
            {"reward.r": (1.0, 0.8, 0.4), "feature.s": (None, 0.5, 0.5)},
            {"reward.r": (1.0, 1.2, 0.8), "feature.s": (None, 0.9, 0.9)},
        ],
        reference=True,
    )
    plain = advantages(view, estimator="grao")
    scaled = advantages(view, estimator="hardness-scaled", estimator_arg=["similarity=s"])
    factor = sigmoid(0.5) / sigmoid(0.3) * sigmoid(0.4) / sigmoid(0.2)
    assert factor == pytest.approx(1.179867, abs=1e-6)
    assert scaled[1:3] == pytest.approx([value * factor for value in plain[1:3] if value is not None])
    inverted = advantages(view, estimator="hardness-scaled", estimator_arg=["similarity=s", "invert=yes"])
    other = sigmoid(0.5) / sigmoid(0.3) / (sigmoid(0.4) / sigmoid(0.2))
    assert inverted[1:3] == pytest.approx([value * other for value in plain[1:3] if value is not None])


def test_gtpo_subtracts_the_entropy_and_masks_where_it_is_too_high() -> None:
    view = view_of([{"reward.r": (1, 0), "mean_logprob": (-0.8, -0.5)}])
    wild = advantages(view, estimator="gtpo", estimator_arg=["start_entropy=0.9"])  # above ln 2 from the start
    assert wild == pytest.approx([0.92, -1.05])
    assert advantages(view, estimator="gtpo", estimator_arg=["start_entropy=0.3"]) == [None, pytest.approx(-1.05)]


def test_the_spread_of_an_ensemble_is_the_papers_variance_or_a_deviation() -> None:
    """(0.2, 0.6, 1.0), λ ½: mean 0.6, σ² 0.106667, σ 0.326599."""
    view = view_of([{"reward.a": (0.2,), "reward.b": (0.6,), "reward.c": (1.0,)}])
    options: dict[str, Any] = {"combine": "uncertainty", "uncertainty_penalty": 0.5}
    assert rewards(view, **options, combine_arg=["spread=variance"]) == pytest.approx([0.546667])
    assert rewards(view, **options) == pytest.approx([0.436701])
    assert rewards(view, combine="uncertainty", combine_arg=["penalty=0.5"]) == pytest.approx([0.436701])


def test_calibration_takes_the_scale_out_of_an_ensembles_disagreement() -> None:
    """b = 10 a + 3 says the same: z-scores are ±1 over the table and never differ, so nothing is subtracted."""
    view = view_of([{"reward.a": (0.0, 1.0), "reward.b": (3.0, 13.0)}])
    options: dict[str, Any] = {"combine": "uncertainty", "uncertainty_penalty": 2.0}
    assert rewards(view, **options, combine_arg=["calibrate=table"]) == pytest.approx([-1, 1])


@pytest.mark.parametrize(
    ("scope", "expected"), [("sample", [0, 0, 0, 0.2]), ("group", [0, 0.5, 0, 0.2]), ("table", [1, 0, 0, 0.2])]
)
def test_the_worst_population_is_that_of_the_scope(scope: str, expected: Values) -> None:
    """R₁ = (1, 0 | 0, 0.2), R₂ = (0, 0.5 | 0.5, 1): means 0.5, 0.25 | 0.1, 0.75, over the table 0.3 and 0.5."""
    view = view_of([{"reward.a": (1, 0), "reward.b": (0, 0.5)}, {"reward.a": (0, 0.2), "reward.b": (0.5, 1)}])
    computed = rewards(view, combine="worst-population", combine_arg=[f"scope={scope}"])
    assert computed == pytest.approx(expected)
