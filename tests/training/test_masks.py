"""Tokens that the policy did not sample are context: every objective trains on the others alone, however cut."""

from typing import Any

import pytest
import torch

from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.data.sequences import TrainingGroup, micro_batches
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.micro_batch import run_micro_batch
from grao_pipeline.training.model.flops import cost_of
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.objectives.importance_sampling import Correction, truncated_ratio
from tests import tiny
from tests.training import families
from tests.training.families import VOCABULARY, twin
from tests.training.masked import by_hand, objective_named, with_teacher
from tests.training.oracle import backward
from tests.training.steps import advantage_row, relative_distance, sequence, take_gradient, training_groups

PROMPT = [5, 6, 7, 8]
# Two turns with the result of a tool between them; a call that is cut off; and one turn without any tool.
SAMPLES = [[10, 11, 12, 30, 31, 13, 14], [15, 16, 32], [17, 18]]
MASKS = [[True, True, True, False, False, True, True], [True, True, False], None]
BEHAVIOR = [[-1.0, -2.5, -3.0, 0.0, 0.0, -4.0, -5.5], [-2.0, -6.0, 0.0], [-4.5, -5.0]]
WEIGHTS = [[1.0, 0.5, 2.0, 7.0, 7.0, 1.0, -1.25], None, [1.0, 0.0]]


@pytest.fixture(scope="module")
def model() -> Any:
    return families.compute_norms_in_float64(families.make_model("llama", torch.float64))


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[TrainingGroup]:
    """Two groups as tables hold them, one of them with masks and a reference."""
    masked = tiny.group_row("masked", ["a", "b", "c"], token_ids=SAMPLES) | {
        "prompt_token_ids": PROMPT,
        "completion_masks": MASKS,
        "completion_logprobs": BEHAVIOR,
    }
    plain = tiny.group_row("plain", ["a", "b"], None, token_ids=[[20, 21], [22]]) | {"prompt_token_ids": [9]}
    advantages = [
        advantage_row(masked, [1.0, 0.0, 0.5], [1.5, -0.5, 0.25], 0.75, WEIGHTS),
        advantage_row(plain, [1.0, 0.0], [1.0, -1.0], None),
    ]
    return with_teacher(training_groups(tmp_path_factory.mktemp("masks"), [masked, plain], advantages))


@pytest.mark.parametrize("attention", ["split", "rows"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_that_of_the_tokens_masked_by_hand(
    groups: list[TrainingGroup], model: Any, name: str, attention: str
) -> None:
    objective, policy = objective_named(name), Policy(twin(model), attention)
    sequences = [one for group in groups for one in group.sequences]
    micro_batch = run_micro_batch(policy, objective, sequences)
    backward(micro_batch.surrogate)
    loss = objective(by_hand(model, sequences)).loss
    backward(loss)
    assert float(micro_batch.outputs.loss) == pytest.approx(loss.item(), rel=1e-10)
    assert relative_distance(take_gradient(policy.model), take_gradient(model)) < 1e-10


@pytest.mark.parametrize("name", ["grao", "grpo"])
def test_every_cut_of_a_step_with_masks_gives_the_same_gradient(
    groups: list[TrainingGroup], model: Any, name: str
) -> None:
    gradients = []
    for tokens_per_batch in (1, 14, 10**6):
        policy = Policy(twin(model), "split")
        for sequences in micro_batches(groups, tokens_per_batch):
            backward(run_micro_batch(policy, objective_named(name), sequences).surrogate)
        gradients.append(take_gradient(policy.model))
    assert max(relative_distance(gradient, gradients[-1]) for gradient in gradients) < 1e-10


def test_the_result_of_a_tool_is_read(model: Any) -> None:
    """It is context: another result changes the log-probs after it, and none before it."""
    policy, mask = Policy(twin(model), "split"), MASKS[0]
    one, other = (
        policy.logprobs(pack([sequence(PROMPT, ids, mask=mask)])).tolist()
        for ids in (SAMPLES[0], [10, 11, 12, 40, 41, 13, 14])
    )
    assert one[:3] == pytest.approx(other[:3], abs=1e-12)
    assert all(abs(a - b) > 1e-4 for a, b in zip(one[3:], other[3:], strict=True))


def test_the_packed_row_of_a_masked_sample_is_the_hand_written_one() -> None:
    batch = pack([sequence([5, 6], [10, 30, 31, 11], mask=[True, False, False, True]), sequence([5, 6], [12])])
    #                                       0  1  2   3   4   5   6
    assert batch.input_ids.tolist() == [[5, 6, 10, 30, 31, 11, 12]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 2]]
    assert (batch.targets.tolist(), batch.predicting.tolist()) == ([10, 11, 12], [1, 4, 1])
    assert (batch.sequence.tolist(), batch.column.tolist(), batch.offset.tolist()) == ([0, 0, 1], [0, 1, 0], [0, 3, 0])
    assert batch.lengths.tolist() == [2, 1]
    # The head sees three tokens; attention sees all: 4·2 + 10, 2 + 1, and 3 inside the prompt.
    cost = cost_of(batch, in_rows=False)
    assert (cost.tokens, cost.processed, cost.predicted, cost.pairs) == (9, 7, 3, 24)


def test_metrics_and_corrections_know_the_sampled_tokens_alone(groups: list[TrainingGroup], model: Any) -> None:
    """Mean log-probs, entropy and the off-policy metrics, against the tokens that were taken out by hand."""
    sequences, policy = groups[0].sequences, Policy(twin(model), "split")
    correction = Correction(lambda log_ratio, mask: truncated_ratio(log_ratio, mask, 2.0))
    micro_batch = run_micro_batch(policy, objective_named("grao"), sequences, correction=correction)
    metrics = StepMetrics(1)
    metrics.add(sequences, micro_batch.inputs, micro_batch.outputs)
    expected = by_hand(model, sequences)
    with torch.no_grad():
        log_ratio = expected.token_logprobs - expected.behavior_logprobs
        known = expected.token_mask & expected.has_behavior[:, None]
        ratio = log_ratio.exp()
        weights = torch.where(known, expected.token_weights * ratio.clamp(max=2.0), expected.token_weights)
        counted = int(known.sum())
        assert counted == 5 + 2 + 2
        k3 = float((ratio - 1 - log_ratio)[known].sum()) / counted
        entropy = float((-ratio * expected.token_logprobs)[known].sum()) / counted
    torch.testing.assert_close(
        micro_batch.inputs.token_weights[expected.token_mask], weights[expected.token_mask], rtol=1e-9, atol=1e-9
    )
    report = metrics.report()
    assert report["kl_behavior"] == pytest.approx(k3, rel=1e-9)
    assert report["entropy"] == pytest.approx(entropy, rel=1e-9)
    means = expected.mean_logprobs().tolist()
    assert report["mean_logprob_samples"] == pytest.approx(sum(means[:3]) / 3, rel=1e-9)
    assert metrics.origins()[0]["tokens"] == counted


def test_all_token_ids_fit_the_vocabulary() -> None:
    assert max(max(ids) for ids in [*SAMPLES, PROMPT]) < VOCABULARY
