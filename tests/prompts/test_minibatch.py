"""`grao minibatch`: a walk through the prompts, a slice for every round."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.errors import InputError
from grao_pipeline.prompts.minibatch import take_prompts, walk_order
from grao_pipeline.prompts.options import MinibatchOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny


@given(st.integers(1, 40), st.data())
def test_a_pass_takes_no_prompt_twice_and_leaves_out_less_than_a_round(num_prompts: int, data: st.DataObject) -> None:
    per_round = data.draw(st.integers(1, num_prompts))
    rounds = num_prompts // per_round
    for number in range(2):
        walked = [walk_order(num_prompts, per_round, number * rounds + place, seed=3) for place in range(rounds)]
        assert [len(one) for one in walked] == [per_round] * rounds
        together = [index for one in walked for index in one]
        assert len(set(together)) == len(together) > num_prompts - per_round
        assert set(together) <= set(range(num_prompts))


def test_passes_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(walk_order(20, 10, number, seed)) for number in range(4) for seed in range(2)}
    assert len(orders) == 8


def test_the_rows_of_a_round_are_those_of_the_table(tmp_path: Path, prompts: str) -> None:
    summary = tiny.grao_json("minibatch", prompts, tmp_path / "out", "--prompts-per-round", 4, "--round", 2)
    assert (summary["prompts"], summary["taken"], summary["passes"]) == (10, 4, 1.5)
    rows = open_table(prompts, "prompts").arrow()
    taken = open_table(str(tmp_path / "out"), "prompts").arrow()
    assert taken.equals(rows.take(walk_order(10, 4, 2, 0)))
    with pytest.raises(InputError, match=r"holds 10 prompts, fewer than a round takes \(11\)"):
        take_prompts(prompts, str(tmp_path / "more"), MinibatchOptions(prompts_per_round=11))
