"""The off-policy diagnostics against numpy and by hand."""

import json
import math

import numpy as np
import pytest
import torch

from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.micro_batch import objective_inputs
from grao_pipeline.training.objectives.grao import Grao


def sample(behavior: list[float] | None, reward: float | None = None, is_reference: bool = False) -> TrainingSequence:
    ids = [5] * (3 if behavior is None else len(behavior))
    return TrainingSequence([1, 2], ids, 1.0, is_reference, 2, 0.0, False, reward, behavior)


def report(batches: list[tuple[list[TrainingSequence], list[list[float]]]]) -> dict[str, float | None]:
    """The metrics of a step whose micro-batches have these log-probs under the trained model."""
    metrics = StepMetrics(1)
    for sequences, logprobs in batches:
        batch = pack(sequences)
        flat = torch.tensor([value for values in logprobs for value in values], dtype=torch.float64)
        inputs = objective_inputs(sequences, batch.token_mask, batch.padded(flat))
        metrics.add(sequences, inputs, Grao(0.5, 0.6)(inputs))
    return metrics.report()


def test_diagnostics_are_the_hand_worked_ones() -> None:
    # Ratios 2 and 1 in the first sample, 1/2 in the second. k3 = r − 1 − log r: 1 − log 2, 0, −1/2 + log 2; mean 1/6.
    # Outside [0.8, 1.2]: two of three tokens. Geometric means √2 and 1/2: (√2 + 1/2)² / (2 (2 + 1/4)).
    log2 = math.log(2)
    found = report([([sample([-1.0, -1.0]), sample([-1.0])], [[-1.0 + log2, -1.0], [-1.0 - log2]])])
    assert found["kl_behavior"] == pytest.approx(1 / 6, rel=1e-12)
    assert found["outside_band"] == pytest.approx(2 / 3)
    assert found["effective_sample_size"] == pytest.approx((2**0.5 + 0.5) ** 2 / 4.5, rel=1e-12)


def test_diagnostics_equal_numpy_over_several_ragged_batches() -> None:
    random = np.random.default_rng(0)
    lengths = [[3, 1, 5], [2], [4, 4]]
    behavior = [[random.normal(-2, 1, n) for n in batch] for batch in lengths]
    current = [[values + random.normal(0, 0.3, len(values)) for values in batch] for batch in behavior]
    found = report(
        [
            ([sample(values.tolist(), reward=2.0) for values in b], [values.tolist() for values in c])
            for b, c in zip(behavior, current, strict=True)
        ]
    )
    flat = [(b, c) for bs, cs in zip(behavior, current, strict=True) for b, c in zip(bs, cs, strict=True)]
    log_ratio = np.concatenate([c - b for b, c in flat])
    per_sample = np.array([np.exp((c - b).mean()) for b, c in flat])
    assert found["kl_behavior"] == pytest.approx(float((np.exp(log_ratio) - 1 - log_ratio).mean()), rel=1e-12)
    outside = (np.exp(log_ratio) < 0.8) | (np.exp(log_ratio) > 1.2)
    assert found["outside_band"] == pytest.approx(float(outside.mean()), rel=1e-12)
    size = per_sample.sum() ** 2 / (len(per_sample) * (per_sample**2).sum())
    assert found["effective_sample_size"] == pytest.approx(float(size), rel=1e-12)
    assert found["mean_logprob_samples"] == pytest.approx(float(np.mean([c.mean() for _, c in flat])), rel=1e-12)
    assert found["reward"] == 2.0


def test_a_ratio_beyond_the_largest_float_leaves_the_metrics_json() -> None:
    # One sample has all the weight: 1 of 2. The KL estimate has no float.
    found = report([([sample([-2000.0]), sample([-1.0])], [[-1.0], [-1.0]])])
    assert found["effective_sample_size"] == pytest.approx(0.5)
    assert found["kl_behavior"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_cannot_be_measured_is_none() -> None:
    """No sample with stored log-probs, no reward, no reference."""
    found = report([([sample(None)], [[-1.0, -1.0, -1.0]])])
    missing = ("kl_behavior", "outside_band", "effective_sample_size", "reward", "mean_logprob_references")
    assert {name: found[name] for name in missing} == dict.fromkeys(missing)


def test_references_and_samples_without_log_probs_are_left_out_of_the_diagnostics() -> None:
    rows = [sample([-1.0, -1.0, -1.0], reward=3.0), sample(None, reward=1.0), sample(None, is_reference=True)]
    found = report([(rows, [[-1.0] * 3, [-7.0] * 3, [-9.0] * 3])])
    assert found["kl_behavior"] == 0.0
    assert found["effective_sample_size"] == pytest.approx(1.0)
    assert found["mean_logprob_samples"] == pytest.approx(-4.0)
    assert found["mean_logprob_references"] == pytest.approx(-9.0)
    assert found["reward"] == 2.0


def test_shares_are_none_where_every_term_is_zero() -> None:
    """A group of zero variance that the user kept: advantages of exactly 0."""
    row = TrainingSequence([1], [5], 0.0, False, 1, 0.0, False, 1.0, None)
    found = report([([row], [[-1.0]])])
    assert found["J"] == 0.0
    assert found["exploration_share"] is None
