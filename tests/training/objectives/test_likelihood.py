"""`sft`, `asymre` and `opmd` are the weighted likelihoods of their formulas; every objective may be cut anywhere."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.training.data.sequences import TrainingGroup, micro_batches
from grao_pipeline.training.micro_batch import objective_inputs, run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.asymre import AsymRe
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.objectives.dpo import Dpo
from grao_pipeline.training.objectives.grpo import Grpo
from grao_pipeline.training.objectives.importance_sampling import Correction, make_correction
from grao_pipeline.training.objectives.make import construct
from grao_pipeline.training.objectives.opmd import Opmd
from grao_pipeline.training.objectives.sft import Sft
from grao_pipeline.training.options import TrainOptions
from tests.tiers import examples
from tests.training import families, oracle
from tests.training.families import VOCABULARY, twin
from tests.training.oracle import backward
from tests.training.steps import Scored, ragged_groups, scored_groups, sequence, take_gradient, training_groups

Weights = Callable[[list[float]], list[float]]
"""Rewards of a group's trained samples → their weights in J."""

REQUIRED = {"dr-grpo": ["max_completion_length=20"]}


def objective_of(name: str, arguments: Sequence[str] | None = None) -> Objective:
    """An objective by its name, with these arguments or those that it cannot do without."""
    given_arguments = REQUIRED.get(name, []) if arguments is None else list(arguments)
    return construct(TrainOptions(model="m", objective=name, objective_arg=given_arguments))


@pytest.fixture(scope="module")
def model() -> Any:
    return families.make_model("gpt2", torch.float64)


@pytest.fixture(scope="module")
def policy(model: Any) -> Policy:
    return Policy(twin(model), "split")


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> list[TrainingGroup]:
    return training_groups(tmp_path_factory.mktemp("ragged"), *ragged_groups(VOCABULARY))


def step_gradient(
    policy: Policy,
    objective: Objective,
    groups: Sequence[TrainingGroup],
    tokens_per_batch: int = 100_000,
    correction: Correction | None = None,
) -> tuple[float, list[Tensor]]:
    """J and the gradient of −J, of the step."""
    total = 0.0
    for sequences in micro_batches(groups, tokens_per_batch, objective.traits.couples_group):
        micro_batch = run_micro_batch(policy, objective, sequences, correction=correction)
        backward(micro_batch.surrogate / len(groups))
        total -= float(micro_batch.outputs.loss) / len(groups)
    return total, take_gradient(policy.model)


def assert_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def mean_reward_less(shift: float, scale: float) -> Weights:
    def weights(rewards: list[float]) -> list[float]:
        mean = sum(rewards) / len(rewards)
        return [(reward - mean - shift) * scale / len(rewards) for reward in rewards]

    return weights


def naive_j(model: Any, scored: Scored, weights: Weights | None) -> Tensor | None:
    """The mean over the trained groups of Σ weight · ℓ(o), or, without weights, of ℓ(y)."""
    terms = []
    for group, advantages in zip(*scored, strict=True):
        trained = [i for i, value in enumerate(advantages["advantages"]) if value is not None]
        has_reference = bool(group["reference_token_ids"]) and advantages["reference_advantage"] is not None
        if not trained and not has_reference:
            continue
        term = torch.zeros((), dtype=torch.float64)
        if weights is None and has_reference:
            term = term + oracle.likelihood(model, group["prompt_token_ids"], group["reference_token_ids"])
        if weights is not None and trained:
            factors = advantages["token_weights"] or [None] * len(group["completion_token_ids"])
            rewards = [float(np.float32(advantages["rewards"][i])) for i in trained]
            for i, weight in zip(trained, weights(rewards), strict=True):
                ids = group["completion_token_ids"][i]
                term = term + weight * oracle.likelihood(model, group["prompt_token_ids"], ids, factors[i])
        terms.append(term)
    return torch.stack(terms).mean() if terms else None


LIKELIHOODS: dict[str, tuple[Objective, Weights | None]] = {
    "sft": (Sft(), None),
    "asymre": (AsymRe(), mean_reward_less(-0.1, 1.0)),
    "asymre, delta_v 0.3": (AsymRe(AsymRe.Arguments(delta_v=0.3)), mean_reward_less(0.3, 1.0)),
    "opmd": (Opmd(), mean_reward_less(0.0, 0.5)),
    "opmd, tau 3": (Opmd(Opmd.Arguments(tau=3.0)), mean_reward_less(0.0, 0.25)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
@settings(max_examples=examples(25))
@given(scored=scored_groups(VOCABULARY), tokens_per_batch=st.sampled_from([1, 25, 100_000]))
def test_gradient_is_that_of_the_formula_by_autograd(
    tmp_path_factory: pytest.TempPathFactory,
    model: Any,
    policy: Policy,
    name: str,
    scored: Scored,
    tokens_per_batch: int,
) -> None:
    objective, weights = LIKELIHOODS[name]
    expected = naive_j(model, scored, weights)
    if expected is None:
        return
    groups = training_groups(tmp_path_factory.mktemp("step"), *scored)
    found, gradient = step_gradient(policy, objective, groups, tokens_per_batch)
    assert found == pytest.approx(float(expected.detach()), rel=1e-9, abs=1e-9)
    if expected.requires_grad:
        backward(-expected)
    assert_equal(gradient, take_gradient(model))


@pytest.mark.slow
@pytest.mark.parametrize("tokens_per_batch", [1, 30, 75])
@pytest.mark.parametrize("correction", ["none", "truncated-is", "sequence-is", "mask-band"])
@pytest.mark.parametrize("name", ["asymre", "dr-grpo", "grao", "grpo", "opmd", "sft"])
def test_every_cut_of_a_step_gives_its_gradient(
    policy: Policy, ragged: list[TrainingGroup], name: str, correction: str, tokens_per_batch: int
) -> None:
    bounds = {"truncated-is": {"ratio_cap": 1.5}, "sequence-is": {"ratio_cap": 1.5}}
    given_bounds = bounds.get(correction, {"ratio_low": 0.1, "ratio_high": 3.0} if correction == "mask-band" else {})
    correction_of_weights = make_correction(
        TrainOptions.model_validate({"model": "m", "correction": correction, "negative_floor": -4.0, **given_bounds})
    )
    objective = objective_of(name)
    if not objective.traits.takes_corrections:
        correction_of_weights = Correction()
    whole, expected = step_gradient(policy, objective, ragged, correction=correction_of_weights)
    found, gradient = step_gradient(policy, objective, ragged, tokens_per_batch, correction_of_weights)
    assert found == pytest.approx(whole, rel=1e-9)
    assert_equal(gradient, expected)


def test_groups_that_are_coupled_may_share_a_batch_or_not(policy: Policy, ragged: list[TrainingGroup]) -> None:
    whole, expected = step_gradient(policy, Dpo(), ragged)
    found, gradient = step_gradient(policy, Dpo(), ragged, tokens_per_batch=1)
    assert found == pytest.approx(whole, rel=1e-9)
    assert_equal(gradient, expected)


def hand_loss(
    objective: Objective, logprobs: Sequence[float], **columns: Sequence[Any]
) -> tuple[float, dict[str, float]]:
    """Loss and sums for sequences of one token each with these log-probs."""
    given_columns = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    sequences = [sequence([1], [5], **values) for values in given_columns]
    flat = torch.tensor([[value] for value in logprobs], dtype=torch.float64)
    outputs = objective(objective_inputs(sequences, torch.ones_like(flat, dtype=torch.bool), flat))
    return float(outputs.loss), {name: float(value) for name, value in outputs.sums.items()}


def test_asymre_is_the_hand_worked_one() -> None:
    # R = (1, 0), mean 0.5, delta_v = −0.1, V = 0.4: weights 0.6 / 2 and −0.4 / 2; ℓ = (−1, −2): J = −0.3 + 0.4 = 0.1.
    loss, _ = hand_loss(
        AsymRe(),
        [-1.0, -2.0, -3.0],
        reward=[1.0, 0.0, None],
        group_mean_reward=[0.5] * 3,
        group_size=[2] * 3,
        is_reference=[False, False, True],
    )
    assert loss == pytest.approx(-0.1)


def test_opmd_is_the_hand_worked_one() -> None:
    # R − mean R = (0.5, −0.5), over G = 2 and 1 + tau = 2: ±0.125; ℓ = (−1, −2): J = −0.125 + 0.25 = 0.125.
    shared: dict[str, Any] = {"reward": [1.0, 0.0], "group_mean_reward": [0.5] * 2, "group_size": [2] * 2}
    assert hand_loss(Opmd(), [-1.0, -2.0], **shared)[0] == pytest.approx(-0.125)
    # Without tau and delta_v it is AsymRE: twice that.
    assert hand_loss(AsymRe(AsymRe.Arguments(delta_v=0.0)), [-1.0, -2.0], **shared)[0] == pytest.approx(-0.25)
    assert hand_loss(Opmd(Opmd.Arguments(tau=0.0)), [-1.0, -2.0], **shared)[0] == pytest.approx(-0.25)


def test_grpo_and_its_metrics_are_the_hand_worked_ones() -> None:
    # log r = (0.5, −1, 0.1), Â = (1, −1, 1), G = 3, band [0.8, 1.2]. r = (1.649, 0.368, 1.105):
    # −min(1.649, 1.2) = −1.2, clipped; −min(−0.368, −0.8) = 0.8, clipped; −1.105. The reference has no part.
    loss, sums = hand_loss(
        Grpo(),
        [-1.0, -2.0, -3.0, -4.0],
        behavior_logprobs=[[-1.5], [-1.0], [-3.1], None],
        advantage=[1.0, -1.0, 1.0, 5.0],
        group_size=[3] * 4,
        is_reference=[False, False, False, True],
    )
    assert loss == pytest.approx((-1.2 + 0.8 - np.exp(0.1)) / 3)
    assert sums == pytest.approx({"clipped": 2 / 3, "kl_penalty": 0.0})


def test_the_kl_penalty_is_the_hand_worked_one() -> None:
    # r = e^0.5: k3 = e^−0.5 − 1 + 0.5 = 0.10653; times r = 0.17564; Â = 0.
    columns: dict[str, Any] = {"behavior_logprobs": [[-1.5]], "advantage": [0.0]}
    loss, sums = hand_loss(Grpo(Grpo.Arguments(kl=2.0)), [-1.0], **columns)
    assert loss == pytest.approx(2 * 0.17564, abs=1e-5)
    assert sums["kl_penalty"] == pytest.approx(loss)
    loss, _ = hand_loss(Grpo(Grpo.Arguments(kl=2.0, unbiased_kl=False)), [-1.0], **columns)
    assert loss == pytest.approx(2 * 0.10653, abs=1e-5)


def test_dpo_pairs_best_with_worst_in_each_group_and_skips_ties() -> None:
    # Group a: best row 2 (R = 3), worst row 0; log-ratios 0.5 and −0.5: margin 0.1 · (0.5 + 0.5) = 0.1.
    # Group b: a tie. Group c: one sample. Group d: best row 6, worst row 7, the first of two; 0.1 · (−1 − 1) = −0.2.
    loss, sums = hand_loss(
        Dpo(),
        [-1.0] * 9,
        group_id=["a", "a", "a", "b", "b", "c", "d", "d", "d"],
        reward=[0.0, 1.0, 3.0, 1.0, 1.0, 7.0, 2.0, 0.0, 0.0],
        behavior_logprobs=[[-0.5], [-9.0], [-1.5], [-1.0], [-2.0], [-3.0], [0.0], [-2.0], [-5.0]],
    )
    assert loss == pytest.approx(np.log1p(np.exp(-0.1)) + np.log1p(np.exp(0.2)))
    assert sums == pytest.approx({"pairs": 2.0, "pairs_in_order": 1.0, "margin": -0.1})


def test_groups_without_a_pair_have_no_gradient(policy: Policy) -> None:
    tie = [
        sequence([1, 2], [5 + i], reward=1.0, group_size=2, group_id="tie", behavior_logprobs=[-1.0]) for i in range(2)
    ]
    backward(run_micro_batch(policy, Dpo(), tie).surrogate)
    assert all(float(each.abs().max()) == 0.0 for each in take_gradient(policy.model))


@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "dpo"])
def test_a_ratio_without_behavior_log_probs_is_refused_with_the_group_named(policy: Policy, name: str) -> None:
    objective = objective_of(name)
    reference = sequence([1], [7], is_reference=True, group_id="g0")
    known = sequence([1], [5], reward=1.0, behavior_logprobs=[-1.0], group_id="g1")
    run_micro_batch(policy, objective, [reference, known])
    with pytest.raises(InputError, match="Group g2 has a sample without completion_logprobs"):
        run_micro_batch(policy, objective, [known, sequence([1], [6], reward=1.0, group_id="g2")])


@pytest.mark.parametrize("name", ["dpo", "asymre", "opmd"])
def test_an_objective_made_of_rewards_refuses_a_sample_without_one(policy: Policy, name: str) -> None:
    objective = objective_of(name)
    with pytest.raises(InputError, match="Group g2 has a sample with an advantage but without a reward"):
        run_micro_batch(policy, objective, [sequence([1], [6], behavior_logprobs=[-1.0], group_id="g2")])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("grao", ["beta=1"], "objective 'grao' has no argument 'beta'. It has: exploration."),
        ("grao", ["exploration=-1"], "exploration=-1: input should be greater than or equal to 0 (objective 'grao')."),
        ("sft", ["x=1"], "objective 'sft' has no argument 'x'. It has: none."),
        (
            "grpo",
            ["clip=1"],
            "objective 'grpo' has no argument 'clip'. Did you mean clip_low? It has: ratio, clip_low, clip_high, kl,",
        ),
        ("grpo", ["ratio=word"], "ratio=word: input should be 'token' or 'sequence' (objective 'grpo')."),
        ("grpo", ["clip_low=1.5"], "clip_low=1.5: input should be less than or equal to 1 (objective 'grpo')."),
        ("grpo", ["kl=nan"], "kl=nan: input should be a finite number (objective 'grpo')."),
        ("grpo", ["unbiased_kl=perhaps"], "unbiased_kl=perhaps: input should be a valid boolean, unable to interpret "),
        ("dr-grpo", [], "objective 'dr-grpo' needs max_completion_length=…. Its arguments: ratio, clip_low, "),
        ("dpo", ["dpo_beta=0"], "dpo_beta=0: input should be greater than 0 (objective 'dpo')."),
        ("asymre", ["delta_v=low"], "delta_v=low: input should be a valid number, unable to parse string as a number"),
        ("opmd", ["tau=-1"], "tau=-1: input should be greater than or equal to 0 (objective 'opmd')."),
    ],
)
def test_a_wrong_argument_is_named_with_the_known_ones(name: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        objective_of(name, arguments)
    assert caught.value.option == "objective_arg"
    assert caught.value.message.startswith(message)
