"""What a training knows of its tables before it reads tokens, against counting loops; and tokens read when needed."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.errors import DamagedPart
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.table_pair import TablePair
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.data.scan import scan
from grao_pipeline.training.data.tables import KeptParts
from tests import tiny
from tests.tiers import examples
from tests.training.data.test_groups import advantages_of

Row = dict[str, Any]
Sample = tuple[float | None, list[int], list[float] | None]
"""Its advantage, its tokens, and what it was sampled from."""

ids = st.lists(st.integers(3, 90), max_size=4)
samples: st.SearchStrategy[list[Sample]] = st.lists(
    st.tuples(st.none() | st.floats(-2, 2, width=32), ids, st.none() | st.just([])), min_size=1, max_size=3
)
group = st.tuples(samples, st.booleans(), ids, st.none() | st.floats(-2, 2, width=32))


def rows_of(drawn: list[tuple[list[Sample], bool, list[int], float | None]]) -> tuple[list[Row], list[Row]]:
    """Groups and their advantages."""
    groups, advantages = [], []
    for number, (of_group, has_logprobs, reference, reference_advantage) in enumerate(drawn):
        tokens = [token_ids for _, token_ids, _ in of_group]
        row = tiny.group_row(str(number), [str(index) for index in range(len(of_group))], token_ids=tokens)
        row |= {"reference_token_ids": reference, "round": number % 3}
        if not has_logprobs:
            row["completion_logprobs"] = None
        row["completion_behavior_logprobs"] = [
            None if sampling is None else [-1.0] * len(token_ids) for _, token_ids, sampling in of_group
        ]
        groups.append(row)
        advantages.append(advantages_of(row, [advantage for advantage, _, _ in of_group], reference_advantage))
    return groups, advantages


@pytest.mark.slow
@settings(max_examples=examples(40), deadline=None)
@given(st.lists(group, min_size=1, max_size=5), st.integers(1, 3))
def test_what_is_known_of_a_row_is_what_a_loop_finds(
    drawn: list[tuple[list[Sample], bool, list[int], float | None]], rows_per_part: int
) -> None:
    if not any(token_ids for of_group, *_ in drawn for _, token_ids, _ in of_group):
        return  # without tokens nothing can be trained on
    groups, advantages = rows_of(drawn)
    with TemporaryDirectory() as place:
        pair = TablePair(
            open_table(tiny.write_table(Path(place, "groups"), "groups", groups, rows_per_part)),
            open_table(tiny.write_table(Path(place, "advantages"), "advantages", advantages, rows_per_part)),
        )
        found = scan(7, pair, {}).to_dicts()
    assert [(row["table"], row["part"], row["row"]) for row in found] == [
        (7, number // rows_per_part, number % rows_per_part) for number in range(len(drawn))
    ]
    for row, known, (of_group, has_logprobs, reference, reference_advantage) in zip(groups, found, drawn, strict=True):
        has_sample = any(advantage is not None and token_ids for advantage, token_ids, _ in of_group)
        has_reference = reference_advantage is not None and bool(reference)
        every_id = [*row["prompt_token_ids"], *reference, *(token for _, tokens, _ in of_group for token in tokens)]
        continuations = [len(reference), *(len(token_ids) for _, token_ids, _ in of_group)]
        expected = {
            "is_trained": has_sample or has_reference,
            "has_reference": has_reference,
            "has_logprobs": has_sample and has_logprobs,
            "may_lack_rewards": False,
            "may_lack_sampling_logprobs": any(sampling is None for _, _, sampling in of_group),
            "lowest": min(every_id),
            "highest": max(every_id),
            "longest": len(row["prompt_token_ids"]) + max(continuations),
            "is_odd": False,
            "round": row["round"],
            "policy": row["policy"],
        }
        assert {name: known[name] for name in expected} == expected


def tables(root: Path, count: int) -> tuple[str, str]:
    """Groups of one sample each, two in a part."""
    groups = [tiny.group_row(str(number), ["a"], token_ids=[[number + 5, 2]]) for number in range(count)]
    advantages = [advantages_of(row, [1.0], None) for row in groups]
    return (
        tiny.write_table(root / "groups", "groups", groups, 2),
        tiny.write_table(root / "advantages", "advantages", advantages, 2),
    )


def test_parts_that_do_not_stay_in_memory_are_read_again(tmp_path: Path) -> None:
    pair = TablePair(*map(open_table, tables(tmp_path, 6)))
    ample, none = KeptParts([pair], [{}]), KeptParts([pair], [{}], room=0)
    for index in (0, 2, 1, 0, 0, 2):
        assert none.part(0, index).groups.equals(ample.part(0, index).groups)
    assert ample.part(0, 1) is ample.part(0, 1)
    assert none.part(0, 0) is not none.part(0, 1)
    kept = none.part(0, 2)
    assert none.part(0, 2) is kept, "the part that is used stays, however large it is"


def test_tokens_are_read_and_verified_when_they_are_asked_for(tmp_path: Path) -> None:
    groups, advantages = tables(tmp_path, 6)
    data = TrainingSet(open_table(groups), open_table(advantages))
    assert data[0].sequences[0].token_ids == [5, 2]
    part = tmp_path / "groups" / "part-000002.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    assert data[1].sequences[0].token_ids == [6, 2]
    with pytest.raises(DamagedPart, match=r"part-000002\.parquet"):
        data[4]
