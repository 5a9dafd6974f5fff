"""Distillation on the likeliest tokens: TRL's divergences, hand-worked numbers, any cut of a step; and edited pairs."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from grao_pipeline.training.data.sequences import TopTokens, TrainingSequence
from grao_pipeline.training.micro_batch import objective_inputs, run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.gkd import generalized_divergence, with_rest
from grao_pipeline.training.objectives.make import construct
from grao_pipeline.training.options import TrainOptions
from tests.training import families, oracle
from tests.training.families import twin
from tests.training.oracle import backward
from tests.training.steps import relative_distance, sequence, take_gradient

pytestmark = [  # none is used here, and what is experimental is only compared with
    pytest.mark.filterwarnings("ignore:TRL currently supports vLLM"),
    pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'"),
]
BETAS = [0.0, 0.3, 1.0]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


@pytest.mark.slow
@pytest.mark.parametrize("jsd", BETAS)
def test_over_the_whole_vocabulary_it_is_trls_generalized_divergence(jsd: float) -> None:
    from trl.experimental.gkd import GKDTrainer

    student, teacher = drawn(1, 7, 11, seed=1), drawn(1, 7, 11, seed=2)
    expected = GKDTrainer.generalized_jsd_loss(student, teacher, beta=jsd, reduction="none").sum(-1)
    torch.testing.assert_close(
        generalized_divergence(student.log_softmax(-1), teacher.log_softmax(-1), jsd), expected, rtol=1e-6, atol=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("jsd", BETAS)
def test_what_the_tokens_leave_out_is_one_more_as_in_trl(jsd: float) -> None:
    from trl.experimental.server_distillation import server_distillation_trainer as theirs

    student, teacher = (drawn(5, 11, seed=seed).log_softmax(-1)[:, :3] for seed in (1, 2))
    mask = torch.ones_like(student, dtype=torch.bool)
    of_student, support = theirs._add_tail_bucket(student, mask)
    of_teacher, _ = theirs._add_tail_bucket(teacher, mask)
    torch.testing.assert_close(with_rest(student), of_student, rtol=1e-9, atol=1e-12)
    expected = theirs._jsd_divergence(of_student, of_teacher, jsd, support).sum(-1)
    torch.testing.assert_close(
        generalized_divergence(with_rest(student), with_rest(teacher), jsd), expected, rtol=1e-6, atol=1e-9
    )


def test_the_hand_worked_divergence() -> None:
    """P = (½, ½), Q = (¼, ¾): KL(P‖Q) = ½ ln 2 + ½ ln ⅔, KL(Q‖P) = ¼ ln ½ + ¾ ln 3/2."""
    teacher, student = (with_rest(torch.tensor([p], dtype=torch.float64).log()) for p in (0.5, 0.25))
    assert float(generalized_divergence(student, teacher, 0.0)) == pytest.approx(0.143841, abs=1e-6)
    assert float(generalized_divergence(student, teacher, 1.0)) == pytest.approx(0.130812, abs=1e-6)


@pytest.fixture(scope="module")
def model() -> Any:
    return families.compute_norms_in_float64(families.make_model("llama", torch.float64))


def taught(model: Any) -> list[TrainingSequence]:
    """Two groups, one with a reference, with the three likeliest tokens of another model."""
    teacher = families.compute_norms_in_float64(families.make_model("llama", torch.float64, seed=9))
    shared: dict[str, Any] = {"group_size": 2, "group_id": "one", "group_has_reference": True}
    sequences = [
        sequence([5, 6], [7, 8, 9], **shared),
        sequence([5, 6], [10, 11], mask=[False, True], **shared),
        sequence([5, 6], [12], is_reference=True, **shared),
        sequence([4], [20, 21, 22, 23], group_id="two", token_weights=[1.0, 0.0, 2.0, 1.0]),
    ]

    def with_top(one: TrainingSequence) -> TrainingSequence:
        with torch.no_grad():
            top = oracle.whole_logprobs(teacher, one.prompt_token_ids, one.token_ids).topk(3, dim=-1)
        return replace(one, top={"big": TopTokens(top.indices.tolist(), top.values.tolist())})

    return [with_top(one) for one in sequences]


def objective(*arguments: str, name: str = "gkd") -> Any:
    return construct(TrainOptions(model="m", objective=name, objective_arg=list(arguments)))


@pytest.mark.parametrize("jsd", BETAS)
def test_loss_and_gradient_are_those_of_float64_autograd_in_any_cut(model: Any, jsd: float) -> None:
    """Written sequence by sequence with transformers' forward; the policy sees shared prompts."""
    sequences = taught(model)
    total = torch.zeros((), dtype=torch.float64)
    for one in sequences:
        whole = oracle.whole_logprobs(model, one.prompt_token_ids, one.token_ids)
        terms = []
        for place, (ids, logprobs) in enumerate(zip(one.top["big"].ids, one.top["big"].logprobs, strict=True)):
            if one.mask is not None and not one.mask[place]:
                continue
            p = torch.tensor([*map(math.exp, logprobs), 1 - sum(map(math.exp, logprobs))], dtype=torch.float64)
            q = whole[place, ids].exp()
            q = torch.cat([q, 1 - q.sum()[None]])
            m = jsd * p + (1 - jsd) * q
            kl = {0.0: (p * (p / q).log()).sum(), 1.0: (q * (q / p).log()).sum()}
            mixed = jsd * (p * (p / m).log()).sum() + (1 - jsd) * (q * (q / m).log()).sum()
            weight = 1.0 if one.token_weights is None else one.token_weights[place]
            terms.append(weight * kl.get(jsd, mixed))
        share = 0.5 if one.is_reference else 1 / one.group_size  # references=0.5
        total = total + share * torch.stack(terms).mean()
    backward(total)
    expected = take_gradient(model)
    gkd = objective("teacher=big", f"jsd={jsd}", "references=0.5")
    for cut in ([sequences], [[one] for one in sequences]):
        policy, loss = Policy(twin(model), "split"), 0.0
        for piece in cut:
            micro_batch = run_micro_batch(policy, gkd, piece)
            backward(micro_batch.surrogate)
            loss += float(micro_batch.outputs.loss)
        assert loss == pytest.approx(float(total.detach()), rel=1e-6)
        assert relative_distance(take_gradient(policy.model), expected) < 1e-6


def bridged(
    logprobs: Sequence[Sequence[float]],
    ids: Sequence[Sequence[int]],
    other: Sequence[Sequence[float]],
    weights: Sequence[list[float] | None] = (),
) -> tuple[float, list[list[float]]]:
    """Loss and slopes of one group of samples and a reference, the last."""
    shared: dict[str, Any] = {"group_size": len(ids) - 1, "group_id": "g", "group_has_reference": True}
    sequences = [
        sequence(
            [1], of, is_reference=place == len(ids) - 1, logprobs={"ref": list(logprob)}, token_weights=weight, **shared
        )
        for place, (of, logprob, weight) in enumerate(zip(ids, other, weights or [None] * len(ids), strict=True))
    ]
    rows = [torch.tensor(values, dtype=torch.float64) for values in logprobs]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).requires_grad_()
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True)
    loss = objective("against=ref", "pair_beta=1", name="bridged-pair")(objective_inputs(sequences, mask, padded)).loss
    (slopes,) = torch.autograd.grad(loss, padded)
    return float(loss.detach()), slopes.tolist()


def test_changed_tokens_of_an_edited_sample_weigh_more() -> None:
    """The reference [5, 7, 6] was edited from [5, 8, 6], not from [9, 9]. π(7) = ¼ → factor 3, π(8) = 0.8 → 2.25.

    u(y) = 1·0.1 + 3·0.2 + 1·0, u(o) = 1·0.1 + 2.25·0.4 + 1·0: L = −log σ(0.7 − 1.0).
    """
    winner, loser = [math.log(0.5), math.log(0.25), -1.0], [math.log(0.5), math.log(0.8), -1.0]
    other = [
        [loser[0] - 0.1, loser[1] - 0.4, -1.0],
        [-2.0, -2.0],
        [winner[0] - 0.1, winner[1] - 0.2, -1.0],
    ]
    loss, slopes = bridged([loser, [-1.0, -1.0], winner], [[5, 8, 6], [9, 9], [5, 7, 6]], other)
    push = 1 / (1 + math.exp(-0.3))
    assert loss == pytest.approx(math.log(1 + math.exp(0.3)))
    assert slopes[2] == pytest.approx([-push, -3 * push, -push])
    assert slopes[0] == pytest.approx([push, 2.25 * push, push])
    assert slopes[1] == [0, 0, 0]


def test_a_token_that_was_put_in_moves_no_other() -> None:
    """[5, 6] → [5, 7, 6]: of the sample nothing was changed; of the reference the token in the middle."""
    _, slopes = bridged([[-1.0, -1.0], [-1.0, -9.0, -1.0]], [[5, 6], [5, 7, 6]], [[-1.0, -1.0], [-1.0, -9.0, -1.0]])
    assert slopes == [pytest.approx([0.5, 0.5, 0]), pytest.approx([-0.5, -1.5, -0.5])]


def test_token_weights_multiply_the_factors_of_an_edit() -> None:
    logprobs = [[-1.0, -1.0], [-1.0, -9.0, -1.0]]
    _, slopes = bridged(logprobs, [[5, 6], [5, 7, 6]], logprobs, [[0.5, 1.0], [1.0, 2.0, 0.0]])
    assert slopes == [pytest.approx([0.25, 0.5, 0]), pytest.approx([-0.5, -3.0, 0])]
