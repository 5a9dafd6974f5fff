"""Off-policy sums: merged in any order they say what numpy says of all samples at once."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.training.off_policy_metrics import OffPolicySums, OriginSums

Samples = list[list[float]]
"""log r_t of each sample's tokens."""
samples_of_an_origin = st.lists(st.lists(st.floats(-4, 4), min_size=1, max_size=5), min_size=1, max_size=8)


def sums_of(sample: list[float]) -> OffPolicySums:
    logs = np.array(sample)
    outside = int(((np.exp(logs) < 0.8) | (np.exp(logs) > 1.2)).sum())
    return OffPolicySums.of_sample(len(logs), float(logs.sum()), float((np.exp(logs) - 1 - logs).sum()), outside)


def reference(samples: Samples) -> dict[str, float]:
    logs = np.concatenate([np.array(sample) for sample in samples])
    weights = np.exp([np.mean(sample) for sample in samples])
    return {
        "kl_behavior": float((np.exp(logs) - 1 - logs).mean()),
        "kl_behavior_k1": float(-logs.mean()),
        "effective_sample_size": float(weights.sum() ** 2 / (len(weights) * (weights**2).sum())),
        "outside_band": float(((np.exp(logs) < 0.8) | (np.exp(logs) > 1.2)).mean()),
    }


def test_the_hand_worked_numbers() -> None:
    # Ratios 2 and 1 in one sample, 1/2 in another. k1: −(log 2 + 0 − log 2) / 3; k3: 1 − log 2, 0, −1/2 + log 2.
    total = OriginSums()
    for sample in ([math.log(2), 0.0], [-math.log(2)]):
        total.add(0, sums_of(sample))
    found = total.total().report()
    assert found["kl_behavior_k1"] == pytest.approx(0.0, abs=1e-15)
    assert found["kl_behavior"] == pytest.approx(1 / 6)
    assert found["outside_band"] == pytest.approx(2 / 3)
    assert found["effective_sample_size"] == pytest.approx((2**0.5 + 0.5) ** 2 / 4.5)


@given(st.lists(samples_of_an_origin, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_any_cut_and_order_of_samples_gives_the_diagnostics_of_all(origins: list[Samples], random: object) -> None:
    shuffle = random.shuffle  # type: ignore[attr-defined]
    one_by_one = [(number, sums_of(sample)) for number, origin in enumerate(origins) for sample in origin]
    shuffle(one_by_one)
    ranks = [OriginSums(), OriginSums()]
    for index, (number, sums) in enumerate(one_by_one):
        ranks[index % 2].add(number, sums)
    ranks[0].merge(ranks[1])
    read_again = OriginSums()
    read_again.merge_records(json.loads(json.dumps(ranks[0].records(), allow_nan=False)))
    assert read_again.records() == ranks[0].records()  # not a bit is lost
    for number, origin in enumerate(origins):
        found = read_again.of(number)
        assert (found.samples, found.tokens) == (len(origin), sum(map(len, origin)))
        assert found.report() == pytest.approx(reference(origin), rel=1e-9, abs=1e-12)
    every = [sample for origin in origins for sample in origin]
    assert read_again.total().report() == pytest.approx(reference(every), rel=1e-9, abs=1e-12)


def test_a_ratio_that_no_float_holds_leaves_one_diagnostic_out() -> None:
    total = OriginSums()
    total.add(0, OffPolicySums.of_sample(1, 2000.0, math.inf, 1))
    total.add(0, sums_of([0.0]))
    read_again = OriginSums()
    read_again.merge_records(json.loads(json.dumps(total.records(), allow_nan=False)))
    found = read_again.of(0).report()
    assert found == {
        "kl_behavior": None,
        "kl_behavior_k1": -1000.0,
        "effective_sample_size": pytest.approx(0.5),  # one of two has all the weight
        "outside_band": 0.5,
    }


def test_of_no_sample_there_is_nothing_to_say() -> None:
    assert set(OriginSums().of(0).report().values()) == {None}
    assert OriginSums().records() == []
