"""Importance-sampling corrections: detached token-weight factors, against hand-worked numbers and naive autograd."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grao_pipeline.errors import UsageError
from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.micro_batch import objective_inputs, run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.base import ObjectiveInputs
from grao_pipeline.training.objectives.grao import Grao
from grao_pipeline.training.objectives.grpo import Grpo
from grao_pipeline.training.objectives.importance_sampling import (
    Correction,
    inside_band,
    make_correction,
    pushed_down,
    truncated_ratio,
    truncated_sequence_ratio,
)
from grao_pipeline.training.options import TrainOptions
from tests.tiers import examples
from tests.training import families, oracle
from tests.training.families import VOCABULARY, twin
from tests.training.oracle import Row, backward
from tests.training.steps import Scored, scored_groups, sequence, take_gradient, training_groups

BETA, LAMBDA = 0.5, 0.6
CORRECTIONS: dict[str, dict[str, Any]] = {
    "truncated-is": {"ratio_cap": 1.3},
    "sequence-is": {"ratio_cap": 1.1},
    "mask-band": {"ratio_low": 0.5, "ratio_high": 1.5},
    "none": {},
}


@pytest.fixture(scope="module")
def model() -> Any:
    return families.make_model("gpt2", torch.float64)


@pytest.fixture(scope="module")
def policy(model: Any) -> Policy:
    return Policy(twin(model), "split")


def correction_of(name: str, **values: Any) -> Correction:
    return make_correction(TrainOptions.model_validate({"model": "m", "correction": name, **values}))


def inputs_of(sequences: Sequence[TrainingSequence], logprobs: Sequence[Sequence[float]]) -> ObjectiveInputs:
    length = max(map(len, logprobs))
    flat = torch.tensor([[*row, *[0.0] * (length - len(row))] for row in logprobs], dtype=torch.float64)
    mask = torch.tensor([[column < len(row) for column in range(length)] for row in logprobs])
    return objective_inputs(sequences, mask, flat)


def test_factors_are_the_hand_worked_ones() -> None:
    # Ratios 0.5, 1 and 4 of a sample of three tokens; 2 of a sample of one.
    log_ratio = torch.tensor([[0.5, 1.0, 4.0], [2.0, 1.0, 1.0]], dtype=torch.float64).log()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert truncated_ratio(log_ratio, mask, cap=3.0)[0].tolist() == pytest.approx([0.5, 1.0, 3.0])
    assert inside_band(log_ratio, mask, low=0.6, high=3.0).tolist() == [[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    # (0.5 · 1 · 4)^(1/3) = 2^(1/3); and 2, capped.
    found = truncated_sequence_ratio(log_ratio, mask, cap=1.5)
    assert found[0].tolist() == pytest.approx([2 ** (1 / 3)] * 3)
    assert float(found[1, 0]) == pytest.approx(1.5)


@pytest.mark.parametrize("name", ["truncated-is", "sequence-is", "mask-band"])
def test_references_and_samples_without_stored_log_probs_have_the_factor_one(name: str) -> None:
    sequences = [
        sequence([1], [5, 6], behavior_logprobs=[-9.0, -9.0]),
        sequence([1], [5], is_reference=True, group_has_reference=True),
        sequence([1], [5, 7]),
    ]
    inputs = inputs_of(sequences, [[-1.0, -2.0], [-3.0], [-4.0, -5.0]])
    found = correction_of(name, **CORRECTIONS[name]).factors(Grao(BETA, LAMBDA), inputs)
    # Ratios e⁸ and e⁷.
    expected = {"truncated-is": 1.3, "sequence-is": 1.1, "mask-band": 0.0}[name]
    assert found[0].tolist() == pytest.approx([expected] * 2)
    assert found[1, 0] == 1.0
    assert found[2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("log_ratio", [1e4, -1e4])
def test_a_ratio_that_no_float_holds_is_still_a_factor(log_ratio: float) -> None:
    logs, mask = torch.tensor([[log_ratio]]), torch.tensor([[True]])
    for found in (truncated_ratio(logs, mask, 2.0), truncated_sequence_ratio(logs, mask, 2.0)):
        assert float(found) == pytest.approx(2.0 if log_ratio > 0 else 0.0)
    assert float(inside_band(logs, mask, 0.5, 2.0)) == 0.0


def test_the_floor_keeps_tokens_from_being_pushed_further_down() -> None:
    sequences = [
        sequence([1], [5, 6], advantage=-1.0),
        sequence([1], [5, 6], advantage=1.0),
        sequence([1], [5, 6], advantage=-1.0, token_weights=[-1.0, 1.0]),
        # w_y = β Â_y − λ mean Â_i = 0.5 · (−2) − 0.6 · 1 < 0: a reference can be pushed down, too.
        sequence([1], [5, 6], advantage=-2.0, is_reference=True, group_has_reference=True),
    ]
    inputs = inputs_of(sequences, [[-3.0, -12.0]] * 4)
    objective = Grao(BETA, LAMBDA)
    assert pushed_down(objective, inputs).tolist() == [[True, True], [False, False], [False, True], [True, True]]
    found = correction_of("none", negative_floor=-10.0).factors(objective, inputs)
    assert found.tolist() == [[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    # All are below −2; the third's first token is pushed up by its negative weight.
    found = correction_of("none", negative_floor=-2.0).factors(objective, inputs)
    assert found.tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]


def naive_factor(name: str, values: dict[str, Any], logs: list[float], behavior: list[float] | None) -> list[float]:
    """Factors of a sample's tokens, in plain Python."""
    if name == "none" or behavior is None:
        return [1.0] * len(logs)
    ratios = [math.exp(a - b) for a, b in zip(logs, behavior, strict=True)]
    if name == "truncated-is":
        return [min(ratio, values["ratio_cap"]) for ratio in ratios]
    if name == "sequence-is":
        return [min(math.prod(ratios) ** (1 / len(ratios)), values["ratio_cap"])] * len(ratios)
    return [float(values["ratio_low"] <= ratio <= values["ratio_high"]) for ratio in ratios]


def naive_j(model: Any, groups: Sequence[TrainingGroup], name: str, values: dict[str, Any]) -> Tensor:
    """Σ w_s (1/|s|) Σ_t weight_t · factor_t · log p_t, the factors plain numbers; the mean over groups."""
    total = torch.zeros((), dtype=torch.float64)
    for group in groups:
        samples = [each for each in group.sequences if not each.is_reference]
        has_reference = len(samples) < len(group.sequences)
        mean = sum(each.advantage for each in samples) / len(samples) if samples else 0.0
        for each in group.sequences:
            if each.is_reference:
                weight = BETA * each.advantage - LAMBDA * mean
            else:
                weight = (1 + LAMBDA * has_reference) * each.advantage / len(samples)
            logprobs = oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids)
            logs = logprobs.tolist()
            factors = naive_factor(name, values, logs, None if each.is_reference else each.behavior_logprobs)
            weights = each.token_weights or [1.0] * len(logs)
            floor = values.get("negative_floor", -math.inf)
            kept = [0.0 if weight * w < 0 and log < floor else 1.0 for w, log in zip(weights, logs, strict=True)]
            signed = [a * b * c for a, b, c in zip(weights, factors, kept, strict=True)]
            total = total + weight * (logprobs * torch.tensor(signed, dtype=torch.float64)).mean()
    return total / len(groups)


@st.composite
def off_policy_groups(draw: st.DrawFn) -> Scored:
    """Groups whose stored log-probs are of all kinds; some store none."""
    groups, advantages = draw(scored_groups(VOCABULARY))
    stored: list[Row] = []
    for group in groups:
        of_length = [
            st.lists(st.floats(-9.0, -0.5, width=32), min_size=len(ids), max_size=len(ids))
            for ids in group["completion_token_ids"]
        ]
        logprobs = None if draw(st.integers(0, 4)) == 0 else [draw(values) for values in of_length]
        stored.append({**group, "completion_logprobs": logprobs})
    return stored, advantages


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRECTIONS)
@settings(max_examples=examples(30))
@given(scored=off_policy_groups(), floor=st.sampled_from([None, -4.0, -6.0]))
def test_gradient_is_that_of_naive_autograd_with_detached_factors(
    tmp_path_factory: pytest.TempPathFactory,
    model: Any,
    policy: Policy,
    name: str,
    scored: Scored,
    floor: float | None,
) -> None:
    values = CORRECTIONS[name] | ({} if floor is None else {"negative_floor": floor})
    groups = training_groups(tmp_path_factory.mktemp("step"), *scored)
    if not groups:
        return
    flat = [each for group in groups for each in group.sequences]
    micro_batch = run_micro_batch(policy, Grao(BETA, LAMBDA), flat, correction=correction_of(name, **values))
    backward(micro_batch.surrogate / len(groups))
    expected = naive_j(model, groups, name, values)
    assert -float(micro_batch.outputs.loss) / len(groups) == pytest.approx(float(expected.detach()), rel=1e-9, abs=1e-9)
    backward(-expected)
    for a, b in zip(take_gradient(policy.model), take_gradient(model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["truncated-is", "sequence-is", "mask-band"])
def test_on_policy_nothing_is_corrected(model: Any, policy: Policy, name: str) -> None:
    with torch.no_grad():
        own = oracle.sequence_logprobs(model, [1, 2], [5, 6, 7]).tolist()
    sequences = [sequence([1, 2], [5, 6, 7], behavior_logprobs=own)]
    micro_batch = run_micro_batch(
        policy, Grao(BETA, LAMBDA), sequences, correction=correction_of(name, **CORRECTIONS[name])
    )
    assert micro_batch.inputs.token_weights[0].tolist() == pytest.approx([1.0] * 3)


def test_the_objective_sees_weights_of_tokens_times_factors(model: Any, policy: Policy) -> None:
    with torch.no_grad():
        own = oracle.sequence_logprobs(model, [1, 2], [5, 6]).tolist()
    behavior = [own[0] + math.log(2), own[1] - math.log(4)]  # ratios 0.5 and 4
    sequences = [sequence([1, 2], [5, 6], behavior_logprobs=behavior, token_weights=[3.0, -1.0])]
    micro_batch = run_micro_batch(
        policy, Grao(BETA, LAMBDA), sequences, correction=correction_of("truncated-is", ratio_cap=2.0)
    )
    assert micro_batch.inputs.token_weights[0].tolist() == pytest.approx([1.5, -2.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"correction": "truncated-is"}, "correction: truncated-is needs --ratio-cap."),
        ({"correction": "sequence-is"}, "correction: sequence-is needs --ratio-cap."),
        ({"correction": "mask-band", "ratio_low": 0.5}, "correction: mask-band needs --ratio-high."),
        ({"ratio_cap": 2.0}, "ratio_cap: 2 applies only to --correction truncated-is or sequence-is."),
        (
            {"correction": "mask-band", "ratio_low": 0.5, "ratio_high": 2.0, "ratio_cap": 3.0},
            "ratio_cap: 3 applies only to --correction truncated-is or sequence-is.",
        ),
        (
            {"correction": "truncated-is", "ratio_cap": 2.0, "ratio_low": 0.5},
            "ratio_low: 0.5 applies only to --correction mask-band.",
        ),
    ],
)
def test_a_bound_that_is_missing_or_has_no_effect_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_correction(TrainOptions.model_validate({"model": "m", **values}))
    assert str(caught.value) == message


def test_by_default_nothing_is_corrected() -> None:
    assert make_correction(TrainOptions(model="m")).is_off
    assert Correction().is_off
    inputs = inputs_of([sequence([1], [5], behavior_logprobs=[-9.0])], [[-1.0]])
    assert Correction().factors(Grpo(), inputs).tolist() == [[1.0]]


LOGITS = [math.log(0.5), math.log(0.3), math.log(0.2)]
"""π = (0.5, 0.3, 0.2). At temperature 0.5 it is proportional to π² = (0.25, 0.09, 0.04), that is (0.658, 0.237, 0.105);
top-p 0.8 takes the first two, so that samples come from q = (0.25, 0.09) / 0.34 = (0.735294, 0.264706)."""


def drawn(advantages: list[float]) -> list[TrainingSequence]:
    """A sample of one token for each of the tokens that q can draw."""
    return [
        sequence(
            [1],
            [5 + token],
            advantage=advantages[token],
            group_size=2,
            behavior_logprobs=[LOGITS[token]],
            sampling_logprobs=[math.log(weight / 0.34)],
        )
        for token, weight in enumerate([0.25, 0.09])
    ]


def test_ratios_are_to_the_distribution_that_sampled() -> None:
    """0.5 / 0.735294 = 0.68 and 0.3 / 0.264706 = 1.133333: not 1, although the policy has not moved."""
    inputs = inputs_of(drawn([1.0, 1.0]), [[LOGITS[0]], [LOGITS[1]]])
    truncated = correction_of("truncated-is", ratio_cap=1.1).factors(Grao(BETA, LAMBDA), inputs)
    assert truncated.flatten().tolist() == pytest.approx([0.68, 1.1])
    assert inputs.log_ratios().flatten().tolist() == [0.0, 0.0]  # of the clipped objectives


def test_corrected_means_over_samples_are_those_of_the_policy() -> None:
    """Σ_t q(t) r(t) f(t) = Σ π(t) f(t) over the first two tokens: with f = (1, −2), 0.5 · 1 − 0.3 · 2 = −0.1. Ratios to
    the policy at temperature 1 would give 0.735294 · 1 − 0.264706 · 2 = 0.205882.
    """
    values = [1.0, -2.0]
    inputs = inputs_of(drawn(values), [[LOGITS[0]], [LOGITS[1]]])
    factors = correction_of("truncated-is", ratio_cap=100.0).factors(Grao(BETA, LAMBDA), inputs).flatten().tolist()
    mean = sum(q * r * f for q, r, f in zip([0.25 / 0.34, 0.09 / 0.34], factors, values, strict=True))
    assert mean == pytest.approx(-0.1)


def test_off_policy_metrics_compare_with_the_distribution_that_sampled() -> None:
    """Of the two samples: k1 = −(log 0.68 + log 1.133333)/2 = 0.130250, and the weights 0.68 and 1.133333 have an
    effective sample size of (1.813333)² / (2 · 1.746844) = 0.941177.
    """
    metrics = StepMetrics(1)
    sequences = drawn([1.0, 1.0])
    inputs = inputs_of(sequences, [[LOGITS[0]], [LOGITS[1]]])
    metrics.add(sequences, inputs, Grao(BETA, LAMBDA)(inputs))
    report = metrics.report()
    assert report["kl_behavior_k1"] == pytest.approx(0.130250, abs=1e-6)
    assert report["effective_sample_size"] == pytest.approx(0.941177, abs=1e-6)


def test_samples_of_an_unknown_distribution_are_left_out_of_the_metrics() -> None:
    unknown = sequence([1], [5], behavior_logprobs=[-1.0], sampling_is_unknown=True)
    inputs = inputs_of([unknown], [[-1.0]])
    metrics = StepMetrics(1)
    metrics.add([unknown], inputs, Grao(BETA, LAMBDA)(inputs))
    assert metrics.report()["kl_behavior"] is None
    assert metrics.origins() == []
