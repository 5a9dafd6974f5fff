"""The flat view: one row per sequence, against a hand-written example and plain Python."""

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.advantages.flat_view import flat_view
from grao_pipeline.errors import MismatchError
from grao_pipeline.schemas import GROUPS, SCORES
from tests import tiny
from tests.tiers import examples


def view(groups: list[dict[str, Any]], scores: dict[str, list[dict[str, Any]]]) -> pl.DataFrame:
    tables = {name: pa.Table.from_pylist(rows, schema=SCORES.arrow()) for name, rows in scores.items()}
    return flat_view(pa.Table.from_pylist(groups, schema=GROUPS.arrow()), tables)


def score(group: dict[str, Any], rewards: list[float | None], reference: float | None) -> dict[str, Any]:
    statuses = ["error" if reward is None else "ok" for reward in rewards]
    return {"group_id": group["group_id"], "rewards": rewards, "reference_reward": reference, "statuses": statuses}


def test_a_small_example_worked_by_hand() -> None:
    first = tiny.group_row("one", ["a", "b"], token_ids=[[5, 2], [6, 7, 8, 2]])
    first["completion_logprobs"] = [[-1.0, -0.5], [-1.0, -2.0, -3.0, 0.0]]  # means −0.75 and −1.5
    first["finish_reasons"] = ["stop", "length"]
    second = {**tiny.group_row("two", ["c", "d"], reference=None), "completion_logprobs": None, "round": 3}
    frame = view([first, second], {"a": [score(first, [1.0, None], 0.5), score(second, [2.0, 3.0], None)]})
    a, b = ({"group_id": g["group_id"], "prompt_id": g["prompt_id"], "policy": "p" * 32} for g in (first, second))
    a, b = {"row": 0, **a, "round": 0}, {"row": 1, **b, "round": 3}
    reference = {"sample_index": -1, "source": "reference", "reward.a": 0.5, "applies.a": True, "num_tokens": 4}
    assert frame.to_dicts() == [
        {**a, **reference, "mean_logprob": None, "finish_reason": None},
        {**a, "sample_index": 0, "source": "sample", "reward.a": 1.0, "applies.a": True}
        | {"num_tokens": 2, "mean_logprob": -0.75, "finish_reason": "stop"},
        {**a, "sample_index": 1, "source": "sample", "reward.a": None, "applies.a": True}
        | {"num_tokens": 4, "mean_logprob": -1.5, "finish_reason": "length"},
        *(
            {**b, "sample_index": i, "source": "sample", "reward.a": 2.0 + i, "applies.a": True}
            | {"num_tokens": 3, "mean_logprob": None, "finish_reason": "stop"}
            for i in range(2)
        ),
    ]


def test_lengths_and_mean_log_probs_are_those_of_the_sampled_tokens() -> None:
    """Masks of one group of two, and there of two samples of three; log-probs of one group alone."""
    first = tiny.group_row("one", ["a", "b", "c"], token_ids=[[5, 9, 9, 2], [6, 7, 8], [5, 9]])
    first["completion_masks"] = [[True, False, False, True], None, [True, False]]
    first["completion_logprobs"] = [[-1.0, -8.0, -9.0, -2.0], [-1.0, -2.0, -3.0], [-4.0, 0.0]]
    second = {**tiny.group_row("two", ["d"]), "completion_logprobs": None}
    frame = view([second, first, second | {"group_id": "x"}], {}).filter(pl.col("source") == "sample")
    assert frame["num_tokens"].to_list() == [3, 2, 3, 1, 3]
    assert frame["mean_logprob"].to_list() == [None, -1.5, -2.0, -4.0, None]
    masked = {**first, "completion_logprobs": None}
    assert view([masked], {})["mean_logprob"].to_list() == [None] * 4


def test_columns_and_types_do_not_depend_on_nulls() -> None:
    full = tiny.group_row("one", ["a"])
    bare = {**tiny.group_row("two", ["c", "d"], reference=None), "completion_logprobs": None}
    expected = {
        "row": pl.get_index_type(),
        "group_id": pl.String,
        "prompt_id": pl.String,
        "policy": pl.String,
        "round": pl.Int32,
        "sample_index": pl.Int32,
        "source": pl.String,
        "reward.r": pl.Float32,
        "applies.r": pl.Boolean,
        "num_tokens": pl.Int32,
        "mean_logprob": pl.Float32,
        "finish_reason": pl.String,
    }
    for groups in ([full], [bare], [full, bare], []):
        assert (
            dict(view(groups, {"r": [score(g, [None] * len(g["completions"]), None) for g in groups]}).schema)
            == expected
        )


def test_the_mean_of_a_long_sequence_is_not_lost_to_float32() -> None:
    """A running float32 sum of 20,000 times −0.1 is off in the fourth digit; the mean must not be."""
    group = tiny.group_row("one", ["a"], token_ids=[[1] * 20_000])
    group["completion_logprobs"] = [[-0.1] * 20_000]
    mean = view([group], {}).filter(pl.col("source") == "sample")["mean_logprob"].item()
    assert mean == pytest.approx(-0.1, rel=1e-7)


def test_scores_with_another_number_of_samples_are_refused() -> None:
    groups = [tiny.group_row("one", ["a", "b"]), tiny.group_row("two", ["a", "b"])]
    rows = [score(groups[0], [1.0, 2.0], 0.0), score(groups[1], [1.0, 2.0, 3.0], 0.0)]
    with pytest.raises(MismatchError, match=f"'judge' hold 3 rewards for group {groups[1]['group_id']}, .* 2 samples"):
        view(groups, {"judge": rows})


floats = st.floats(-1e6, 1e6, width=32)


@st.composite
def groups_and_scores(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    groups: list[dict[str, Any]] = []
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in draw(st.sampled_from([["a"], ["a", "b.c"], []]))}
    for index in range(draw(st.integers(0, 4))):
        lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
        ids = [[7] * length for length in lengths]
        group = tiny.group_row(f"q{index}", ["x"] * len(ids), draw(st.sampled_from([None, "y"])), token_ids=ids)
        sample_logprobs = st.tuples(*(st.none() | st.lists(floats, min_size=n, max_size=n) for n in lengths))
        group["completion_logprobs"] = draw(st.none() | sample_logprobs.map(list))
        reasons = st.sampled_from(["stop", "length", "abort"])
        group["finish_reasons"] = draw(st.lists(reasons, min_size=len(ids), max_size=len(ids)))
        for rows in scores.values():
            rewards = draw(st.lists(st.none() | floats, min_size=len(ids), max_size=len(ids)))
            row = score(group, rewards, draw(st.none() | floats))
            not_applicable = st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))
            for index, (is_not, reward) in enumerate(zip(draw(not_applicable), rewards, strict=True)):
                row["statuses"][index] = "not_applicable" if is_not and reward is None else row["statuses"][index]
            rows.append(row)
        groups.append(group)
    return groups, scores


def applies(status: str) -> bool:
    return status != "not_applicable"


def in_plain_python(groups: list[dict[str, Any]], scores: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = []
    for row, group in enumerate(groups):
        shared = {"row": row, **{key: group[key] for key in ("group_id", "prompt_id", "policy", "round")}}
        if group["reference_token_ids"] is not None:
            rewards = {f"reward.{name}": rows[row]["reference_reward"] for name, rows in scores.items()}
            rewards |= {f"applies.{name}": any(map(applies, rows[row]["statuses"])) for name, rows in scores.items()}
            rows.append(
                {**shared, "sample_index": -1, "source": "reference", **rewards, "num_tokens": 4}
                | {"mean_logprob": None, "finish_reason": None}
            )
        for index, ids in enumerate(group["completion_token_ids"]):
            logprobs = group["completion_logprobs"]
            values = logprobs[index] if logprobs else None
            rewards = {f"reward.{name}": rows[row]["rewards"][index] for name, rows in scores.items()}
            rewards |= {f"applies.{name}": applies(rows[row]["statuses"][index]) for name, rows in scores.items()}
            rows.append(
                {**shared, "sample_index": index, "source": "sample", **rewards, "num_tokens": len(ids)}
                | {"mean_logprob": sum(values) / len(values) if values else None}
                | {"finish_reason": group["finish_reasons"][index]}
            )
    return rows


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(groups_and_scores())
def test_every_sequence_is_one_row(
    tables: tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]],
) -> None:
    rows, expected = view(*tables).to_dicts(), in_plain_python(*tables)
    means = [(row.pop("mean_logprob"), other.pop("mean_logprob")) for row, other in zip(rows, expected, strict=True)]
    assert rows == expected
    for mean, true_mean in means:
        assert mean == (None if true_mean is None else pytest.approx(true_mean, rel=1e-6, abs=1e-9))
