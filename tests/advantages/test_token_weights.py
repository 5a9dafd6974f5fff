"""Token weights, by hand-worked numbers, and what the table holds of them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.advantages.token_weights import TOKEN_WEIGHTS
from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.advantages.token_weights.weigh import TokenFunction, load_token_functions, weighed
from grao_pipeline.errors import InputError, StageFailure, UsageError
from grao_pipeline.schemas import STEP
from grao_pipeline.storage.reader import open_table
from tests import tiny

Step = tuple[int, float | None, str | None]
"""Where it ends, its reward, its state."""


def tables_of(
    ids: list[list[list[int]]],
    advantages: list[list[float | None]],
    logprobs: list[list[list[float]]] | None = None,
    steps: list[list[list[Step]]] | None = None,
) -> tuple[pa.Table, pa.Table, dict[str, pa.Table]]:
    """A part of groups, of advantages and of scores `s`; every token is one character long."""
    ends = [[[place + 1 for place in range(len(sample))] for sample in group] for group in ids]
    names = [str(number) for number in range(len(ids))]
    nothing: list[Any] = [None] * len(ids)
    groups = pa.table(
        {
            "group_id": names,
            "completion_token_ids": pa.array(ids, pa.list_(pa.list_(pa.int32()))),
            "completion_logprobs": pa.array(logprobs or nothing, pa.list_(pa.list_(pa.float32()))),
            "completion_token_ends": pa.array(ends, pa.list_(pa.list_(pa.int32()))),
        }
    )
    lists = pa.list_(pa.float32())
    table = pa.table(
        {"group_id": names, "rewards": pa.array(advantages, lists), "advantages": pa.array(advantages, lists)}
    )
    rows = [
        [[dict(zip(("end", "reward", "state"), step, strict=True)) for step in sample] for sample in group]
        for group in steps or []
    ]
    column = pa.array(rows or nothing, pa.list_(pa.list_(STEP)))
    return groups, table, {"s": pa.table({"group_id": names, "steps": column})}


def values_of(name: str, *tables: Any, **arguments: Any) -> list[float]:
    """What a function makes of the tokens, one after another."""
    groups, advantages, scores = tables_of(*tables)
    pairs = [f"{name}.{key}={value}" for key, value in arguments.items()]
    (function,) = load_token_functions(AdvantagesOptions(token_weights=[name], token_weights_arg=pairs))
    tokens = Tokens.of(groups, advantages, scores if function.reads_steps_of else {})
    return [float(value) for value in function(tokens)]


def test_conflicts_are_the_tokens_both_signs_begin_and_end_with() -> None:
    """+[5,6,7] and −[5,8,7] share the first and the last token; a third sample with Â = 0 takes no part."""
    ids = [[[5, 6, 7], [5, 8, 7], [5, 6]]]
    assert values_of("conflicts", ids, [[1, -1, 0]]) == [2, 1, 2, 0, 1, 0, 1, 1]
    assert values_of("conflicts", ids, [[1, -1, 0]], boost=3) == [3, 1, 3, 0, 1, 0, 1, 1]
    # Equal samples are one run from the start and one from the end.
    assert values_of("conflicts", [[[5, 6], [5, 6]]], [[1, -1]]) == [4, 4, 0, 0]
    # A run ends at the first token that differs: 7 at place 2 is shared, but not in the run from the start.
    assert values_of("conflicts", [[[5, 6, 7, 1], [5, 8, 7]]], [[1, -1]]) == [2, 1, 1, 1, 0, 1, 1]
    # Other groups do not count.
    assert values_of("conflicts", [[[5]], [[5]]], [[1], [-1]]) == [1, 1]


def test_top_entropy_keeps_the_least_likely_tokens_of_each_group() -> None:
    logprobs = [[[-0.5, -3.0], [-1.0, -0.25, -2.0]], [[-0.5, -0.5]]]
    ids = [[[1, 2], [3, 4, 5]], [[1, 2]]]
    assert values_of("top-entropy", ids, [[1, -1], [1]], logprobs, share=0.4) == [0, 1, 0, 0, 1, 1, 0]
    assert values_of("top-entropy", ids, [[1, -1], [1]], None) == [1] * 7
    # A sample that is not trained on does not count: ⌈0.4 · 3⌉ = 2 of the other's three tokens.
    assert values_of("top-entropy", ids, [[None, -1], [1]], logprobs, share=0.4)[2:5] == [1, 0, 1]


TWO: list[list[list[Step]]] = [[[(1, 0, "s0"), (2, 1, "s1")], [(1, 0, "s0"), (2, 0, "s2")]]]


def test_gigpo_adds_the_advantage_of_a_step_among_those_in_the_same_state() -> None:
    """Returns in s0: 0.95 and 0, mean 0.475; s1 and s2 were seen once."""
    ids = [[[1, 2], [1, 3]]]
    assert values_of("gigpo", ids, [[0.5, -0.5]], None, TWO, scores="s") == pytest.approx([0.975, 0.5, -0.975, -0.5])
    # ±0.475 over their deviation with n − 1, 0.95/√2, is ±1/√2.
    by_std = values_of("gigpo", ids, [[0.5, -0.5]], None, TWO, scores="s", norm="mean-std")
    assert by_std == pytest.approx([0.5 + 0.5**0.5, 0.5, -0.5 - 0.5**0.5, -0.5], abs=1e-5)
    assert values_of("gigpo", ids, [[0.5, -0.5]], None, TWO, scores="s", omega=0) == [0.5, 0.5, -0.5, -0.5]
    # A token after the last step, and a step without a state, have the advantage of the sample.
    late: list[list[list[Step]]] = [[[(1, 1, None)], [(1, 0, None)]]]
    assert values_of("gigpo", ids, [[0.5, -0.5]], None, late, scores="s") == [0.5, 0.5, -0.5, -0.5]


def test_salt_averages_over_samples_that_share_a_step() -> None:
    """T₁ and T₂ take the same first step from a to b; T₃ writes other tokens."""
    steps: list[list[list[Step]]] = [
        [[(1, 0, "a"), (2, 0, "b")], [(1, 0, "a"), (2, 0, "b")], [(1, 0, "a"), (2, 0, "b")]]
    ]
    ids = [[[7, 1], [7, 2], [8, 3]]]
    assert values_of("salt", ids, [[1, -1, -1]], None, steps, scores="s") == [0, 1, 0, -1, -1, -1]


def test_process_sums_the_standardized_rewards_of_a_step_and_later_ones() -> None:
    """Rewards (1, 0) and (0): mean ⅓, deviation with n − 1 1/√3: (2/√3, −1/√3) and (−1/√3); a token after them: 0."""
    steps: list[list[list[Step]]] = [[[(1, 1, None), (2, 0, None)], [(1, 0, None), (2, None, None)]]]
    ids = [[[1, 2, 3], [4, 5]]]
    third = 1 / 3**0.5
    alone = values_of("process", ids, [[1, -1]], None, steps, scores="s")
    assert alone == pytest.approx([third, -third, 0, -third, 0], abs=1e-5)
    both = values_of("process", ids, [[1, -1]], None, steps, scores="s", whole=0.5)
    assert both == pytest.approx([0.5 + third, 0.5 - third, 0.5, -0.5 - third, -0.5], abs=1e-5)
    # A sample that is not trained on does not count: of (1, 0) the mean is ½, the deviation 1/√2.
    one = values_of("process", ids, [[1, None]], None, steps, scores="s")
    assert one[:3] == pytest.approx([0, -(0.5**0.5), 0], abs=1e-5)


@pytest.mark.parametrize(
    ("reward", "expected"), [("hit", [0.707007, -0.707007, -0.707007, 0.707007]), ("discounted", None)]
)
def test_items_are_compared_at_their_place(reward: str, expected: list[float] | None) -> None:
    """Hits (1, 0) and (0, 1). Discounted: (1, 0) and (1/log₂ 3, 1/log₂ 3), whose deviations are |difference|/√2."""
    steps: list[list[list[Step]]] = [[[(1, 1, None), (2, 0, None)], [(1, 0, None), (2, 1, None)]]]
    gain = 1 / np.log2(3)

    def standardized(difference: float) -> float:
        return difference / 2 / (abs(difference) / 2**0.5 + 1e-4)

    first, second = standardized(1 - gain), standardized(-gain)
    computed = values_of("items", [[[1, 2], [3, 4]]], [[0, 0]], None, steps, scores="s", reward=reward)
    assert computed == pytest.approx(expected or [first, second, -first, -second], abs=1e-6)


def test_every_function_has_a_hand_worked_case() -> None:
    assert set(TOKEN_WEIGHTS) == {"conflicts", "top-entropy", "gigpo", "salt", "process", "items"}


def test_advantages_of_tokens_are_stored_as_the_largest_and_its_shares() -> None:
    """(0.975, 0.5) and (−0.975, −0.5) → Â 0.975 and 0.975, weights (1, 0.512821) and (−1, −0.512821); factors of a
    second function are multiplied."""
    groups, advantages, scores = tables_of([[[1, 2], [1, 3], [9]]], [[0.5, -0.5, None]], None, [[*TWO[0], []]])
    options = AdvantagesOptions(token_weights=["gigpo"], token_weights_arg=["gigpo.scores=s"])
    half = TokenFunction("half", lambda tokens: np.full(len(tokens.ids), 0.5), functions_arguments())
    functions = (*load_token_functions(options), half)
    (row,) = weighed(advantages, groups, scores, functions).to_pylist()
    assert row["advantages"] == [pytest.approx(0.975), pytest.approx(0.975), None]
    share = 0.5 * 0.5 / 0.975
    assert row["token_weights"] == [pytest.approx([0.5, share]), pytest.approx([-0.5, -share]), None]


def functions_arguments() -> Any:
    from grao_pipeline.arguments import NoArguments

    return NoArguments()


def test_advantages_that_are_all_zero_have_weights_of_one() -> None:
    groups, advantages, scores = tables_of([[[1, 2]]], [[0.0]], None, [[[(1, 0, None)]]])
    functions = load_token_functions(AdvantagesOptions(token_weights=["items"], token_weights_arg=["items.scores=s"]))
    (row,) = weighed(advantages, groups, scores, functions).to_pylist()
    assert (row["advantages"], row["token_weights"]) == ([0.0], [[1.0, 1.0]])


READING_STEPS = {"gigpo": 0.5, "salt": 0.5, "items": 0.0, "process": 0.0}
"""What a token of a sample with advantage ½ gets that belongs to no step."""


@pytest.mark.parametrize("name", READING_STEPS)
def test_a_table_has_parts_without_steps_but_not_only_such(name: str, tmp_path: Path) -> None:
    """The first of two groups, each a part, has steps; then none has."""
    rows = [tiny.group_row(text, ["x", "y"], None, token_ids=[[5, 6], [5, 7]]) for text in "ab"]
    for row in rows:
        row["completion_token_ends"] = [[1, 2], [1, 2]]
    url = tiny.write_table(tmp_path / "groups", "groups", rows, 1)
    steps = [[{"end": 2, "reward": reward, "state": "s"}] for reward in (1.0, 0.0)]
    of_first: Any
    for table, of_first in (("some", steps), ("none", [[], []])):
        scores = [
            {"group_id": row["group_id"], "rewards": [1.0, 0.0], "statuses": ["ok", "ok"], "steps": of_row}
            for row, of_row in zip(rows, (of_first, None), strict=True)
        ]
        inputs = {"groups": open_table(url).fingerprint}
        tiny.write_table(tmp_path / table, "scores", scores, 1, inputs=inputs, options={"name": "s"})

    def computed(table: str) -> list[dict[str, Any]]:
        options = AdvantagesOptions(
            scores=[WeightedScores(url=str(tmp_path / "some"))],
            feature=[f"s={tmp_path / table}"],
            token_weights=[name],
            token_weights_arg=[f"{name}.scores=s"],
            estimator="dr-grpo",
            statistics="samples",
        )
        compute_advantages(url, str(tmp_path / f"{table}-{name}"), options)
        rows: list[dict[str, Any]] = open_table(str(tmp_path / f"{table}-{name}"), "advantages").arrow().to_pylist()
        return rows

    _, second = computed("some")
    of_tokens = [
        a * weight
        for a, weights in zip(second["advantages"], second["token_weights"], strict=True)
        for weight in weights
    ]
    assert np.abs(of_tokens).tolist() == [READING_STEPS[name]] * 4
    with pytest.raises(InputError, match=r"The scores 's' \(.*none\) have no steps. A reward gives them"):
        computed("none")


def test_what_functions_need_and_return_is_checked() -> None:
    groups, advantages, scores = tables_of([[[1, 2]]], [[0.5]], None, [[[(1, 0, None)]]])
    functions = load_token_functions(AdvantagesOptions(token_weights=["salt"], token_weights_arg=["salt.scores=s"]))
    ends = groups.schema.get_field_index("completion_token_ends")
    without = groups.set_column(ends, "completion_token_ends", pa.nulls(1, groups.schema.field(ends).type))
    with pytest.raises(InputError, match="do not say where the tokens of each completion end"):
        weighed(advantages, without, scores, functions)
    arguments = functions_arguments()
    with pytest.raises(StageFailure, match=r"'short' returned an array of shape \(1,\); the part has 2 tokens"):
        weighed(advantages, groups, {}, [TokenFunction("short", lambda tokens: np.ones(1), arguments)])
    with pytest.raises(StageFailure, match="wild: a weight is nan"):
        weighed(advantages, groups, {}, [TokenFunction("wild", lambda tokens: np.full(2, np.nan), arguments)])
    both = AdvantagesOptions(token_weights=["salt", "items"], token_weights_arg=["salt.scores=s", "items.scores=s"])
    with pytest.raises(UsageError, match="salt and items both give advantages"):
        load_token_functions(both)


OWN = """
import numpy as np
import polars as pl

def double(tokens, *, factor: float = 2.0):
    return np.full(len(tokens.ids), factor)

def lengthy(view, *, statistics, most: int = 3):
    return pl.col("num_tokens") > most

lengthy.before_statistics = True

def topic_bonus(view, *, statistics, topic: str):
    return pl.col("reward") + (pl.col("metadata.topic") == topic).fill_null(False).cast(pl.Float64)

topic_bonus.reads = ("metadata.topic",)

def largest(view, *, weights, statistics):
    return pl.max_horizontal(*(pl.col(f"reward.{name}") for name in weights))
"""


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, list[WeightedScores]]:
    rows = [
        tiny.group_row("a", ["x", "y", "z"], "w", token_ids=[[5, 6], [5, 7], [5, 6, 7, 8]]),
        tiny.group_row("b", ["x", "y"], "w", token_ids=[[5, 6], [4, 6]]),
    ]
    rows[0]["metadata"] = '{"topic": "math"}'
    url = tiny.write_table(tmp_path / "groups", "groups", rows, 1)
    inputs = {"groups": open_table(url).fingerprint}
    scores = []
    for name, values in (("r", [[1.0, 0.0, 5.0], [1.0, 0.0]]), ("q", [[0.5, 2.0, 0.0], [0.0, 3.0]])):
        table = [
            {"group_id": row["group_id"], "rewards": of_row, "reference_reward": 0.0, "statuses": ["ok"] * len(of_row)}
            for row, of_row in zip(rows, values, strict=True)
        ]
        path = tiny.write_table(tmp_path / name, "scores", table, 1, inputs=inputs, options={"name": name})
        scores.append(WeightedScores(url=path))
    return url, scores


@pytest.mark.slow
@pytest.mark.parametrize("way", ["module:attribute", "entry point"])
def test_a_package_publishes_functions_of_every_kind(
    tables: tuple[str, list[WeightedScores]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Combined (1, 2, 5 | 1, 3), the third is too long, topic math: (2, 3 | 1, 3); centered ∓½ and ∓1."""
    (tmp_path / "own_functions.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    functions = ("largest", "topic_bonus", "lengthy", "double")
    names = [f"own_functions:{name}" for name in functions]
    if way == "entry point":
        kinds = ("combinations", "reshapes", "filters", "token_weights")
        published = "\n".join(
            f"[grao_pipeline.{kind}]\n{name}-x = own_functions:{name}"
            for kind, name in zip(kinds, functions, strict=True)
        )
        (tmp_path / "own-1.0.dist-info").mkdir()
        (tmp_path / "own-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
        (tmp_path / "own-1.0.dist-info" / "entry_points.txt").write_text(published)
        names = [f"{name}-x" for name in functions]
    combination, reshape, masks, weights = names
    url, scores = tables
    options = AdvantagesOptions(
        scores=scores,
        combine=combination,
        reshape=[reshape],
        reshape_arg=[f"{reshape}.topic=math"],
        filter=[masks],
        token_weights=[weights],
        token_weights_arg=[f"{weights}.factor=3"],
        estimator="dr-grpo",
        statistics="samples",
    )
    summary = compute_advantages(url, str(tmp_path / "out"), options)
    sys.modules.pop("own_functions", None)
    first, second = open_table(str(tmp_path / "out"), "advantages").arrow().to_pylist()
    assert (first["rewards"], first["advantages"]) == ([2.0, 3.0, None], [-0.5, 0.5, None])
    assert (second["rewards"], second["advantages"]) == ([1.0, 3.0], [-1.0, 1.0])
    assert first["masked_by"] == [None, None, masks]
    assert first["token_weights"] == [[3.0, 3.0], [3.0, 3.0], None]
    assert summary.masked[masks].samples == 1
    provenance = open_table(str(tmp_path / "out")).provenance
    assert {key.partition("_source")[0] for key in provenance.options if "_source" in key} == {
        "combination",
        "reshape",
        "filter",
        "token_weight",
    }
