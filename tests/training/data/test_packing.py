"""A packed row holds every prompt once; its indices lead each continuation token to what predicts it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.training.data.packing import PromptLayout, pack, packed_tokens
from grao_pipeline.training.data.sequences import TrainingSequence
from tests.training.steps import sequence

# Two continuations of 5 6 7, then one of 9.
SEQUENCES = [sequence([5, 6, 7], [10, 11]), sequence([5, 6, 7], [12]), sequence([9], [13, 14, 15])]


def test_the_packed_row_is_the_hand_written_one() -> None:
    batch = pack(SEQUENCES)
    #                                       0  1  2   3   4   5  6   7   8   9
    assert batch.input_ids.tolist() == [[5, 6, 7, 10, 11, 12, 9, 13, 14, 15]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 2, 3]]
    assert batch.layouts == (PromptLayout(0, 3, (2, 1)), PromptLayout(6, 1, (3,)))
    # The prompt's last token predicts the first token of each of its continuations.
    assert batch.predicting.tolist() == [2, 3, 2, 6, 7, 8]
    assert batch.targets.tolist() == [10, 11, 12, 13, 14, 15]
    assert batch.sequence.tolist() == [0, 0, 1, 2, 2, 2]
    assert batch.column.tolist() == [0, 1, 0, 0, 1, 2]
    assert batch.lengths.tolist() == [2, 1, 3]


def test_tokens_are_counted_without_padding() -> None:
    # 3 + 2 + 1 and 1 + 3 in the row; (3 + 2) + (3 + 1) + (1 + 3) where every sequence repeats its prompt.
    batch = pack(SEQUENCES)
    assert batch.num_tokens == packed_tokens(SEQUENCES) == 10
    assert batch.num_unshared_tokens == 13


def test_a_layout_says_where_prompt_and_continuations_lie() -> None:
    layout = PromptLayout(start=6, prompt_length=2, lengths=(3, 1))
    assert (layout.prompt, layout.continuations) == (slice(6, 8), slice(8, 12))


def test_values_of_tokens_become_rows_with_zeros_at_padding_and_gradients_come_back() -> None:
    batch = pack(SEQUENCES)
    values = torch.arange(1.0, 7.0, dtype=torch.float64, requires_grad=True)
    rows = batch.padded(values)
    assert rows.tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert batch.token_mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    (gradient,) = torch.autograd.grad((rows * torch.arange(9.0, dtype=torch.float64).view(3, 3)).sum(), values)
    assert gradient.tolist() == [0, 1, 3, 6, 7, 8]


def test_only_neighbours_share_a_prompt() -> None:
    """The order is the caller's; groups come one after the other."""
    apart = [SEQUENCES[0], SEQUENCES[2], SEQUENCES[1]]
    assert pack(apart).input_ids.tolist() == [[5, 6, 7, 10, 11, 9, 13, 14, 15, 5, 6, 7, 12]]
    assert packed_tokens(apart) == 13


def test_a_prompt_that_only_begins_another_is_not_shared() -> None:
    batch = pack([sequence([5, 6], [7]), sequence([5, 6, 7], [8])])
    assert batch.input_ids.tolist() == [[5, 6, 7, 5, 6, 7, 8]]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.lists(st.integers(0, 9), min_size=1)),
        min_size=1,
        max_size=8,
    )
)
def test_every_token_finds_its_sequence_again(drawn: list[tuple[list[int], list[int]]]) -> None:
    sequences: list[TrainingSequence] = [sequence(prompt, ids) for prompt, ids in drawn]
    batch = pack(sequences)
    assert packed_tokens(sequences) == batch.num_tokens <= batch.num_unshared_tokens
    assert batch.num_unshared_tokens == sum(len(prompt) + len(ids) for prompt, ids in drawn)
    row, positions = batch.input_ids[0], batch.position_ids[0]
    places = zip(batch.predicting, batch.targets, batch.sequence, batch.column, strict=True)
    assert [[int(number), int(column)] for *_, number, column in places] == [
        [number, column] for number, (_, ids) in enumerate(drawn) for column in range(len(ids))
    ]
    for predicting, target, number, column in zip(
        batch.predicting, batch.targets, batch.sequence, batch.column, strict=True
    ):
        prompt, ids = drawn[int(number)]
        assert int(target) == ids[int(column)]
        assert int(row[predicting]) == [*prompt, *ids][len(prompt) - 1 + int(column)]
        assert int(positions[predicting]) == len(prompt) - 1 + int(column)


def test_a_row_on_another_device_is_made_there() -> None:
    batch = pack(SEQUENCES, "meta")
    made = [batch.input_ids, batch.position_ids, batch.predicting, batch.targets, batch.sequence, batch.column]
    assert {each.device.type for each in [*made, batch.lengths]} == {"meta"}


@pytest.mark.parametrize("size", [1, 16])
def test_a_group_pays_for_its_prompt_once(size: int) -> None:
    group = [sequence([1] * 50, [2] * 3) for _ in range(size)]
    assert pack(group).num_tokens == 50 + 3 * size
