"""What the trainer reads: which sequences, in which order, in which micro-batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet, epoch_order, step_plan
from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence, micro_batches
from tests import tiny

Row = dict[str, Any]


def advantages_of(group: Row, samples: Sequence[float | None], reference: float | None) -> Row:
    return {
        "group_id": group["group_id"],
        "rewards": [float(i) for i in range(len(samples))],
        "advantages": list(samples),
        "reference_advantage": reference,
        "reward_mean": 0.0,
        "reward_std": 1.0,
        "token_weights": None,
    }


def training_set(root: Path, groups: list[Row], advantages: list[Row], rows_per_part: int = 2) -> TrainingSet:
    groups_url = tiny.write_table(root / "groups", "groups", groups, rows_per_part)
    advantages_url = tiny.write_table(root / "advantages", "advantages", advantages, rows_per_part)
    return TrainingSet(open_table(groups_url), open_table(advantages_url))


def test_a_sequence_carries_what_its_weight_depends_on(tmp_path: Path) -> None:
    group = tiny.group_row("p", ["a", "b", "c"])
    data = training_set(tmp_path, [group], [advantages_of(group, [1.0, None, -0.5], 2.0)])
    # G counts the two samples that have an advantage; their mean advantage is (1 − 0.5) / 2.
    prompt = [1, 7, 8]
    of_group: Row = {"group_size": 2, "group_mean_advantage": 0.25, "group_has_reference": True}
    # Tokens of the samples with an advantage: three each.
    of_group |= {"group_id": group["group_id"], "group_mean_reward": 1.0, "group_tokens": 6}
    behavior = [-1.0, -1.0, -1.0]
    assert data[0] == TrainingGroup(
        group["group_id"],
        [
            TrainingSequence(prompt, [5, 6, 2], 1.0, False, reward=0.0, behavior_logprobs=behavior, **of_group),
            TrainingSequence(prompt, [7, 8, 2], -0.5, False, reward=2.0, behavior_logprobs=behavior, **of_group),
            TrainingSequence(prompt, [9, 10, 11, 2], 2.0, True, reward=None, behavior_logprobs=None, **of_group),
        ],
    )


def test_groups_without_anything_to_train_on_are_left_out(tmp_path: Path) -> None:
    full = tiny.group_row("full", ["a", "b"])
    masked = tiny.group_row("masked", ["a", "b"])
    no_reference = tiny.group_row("no reference", ["a", "b"], reference=None)
    only_reference = tiny.group_row("only reference", ["a", "b"])
    groups = [full, masked, no_reference, only_reference]
    advantages = [
        advantages_of(full, [1.0, -1.0], 0.5),
        advantages_of(masked, [None, None], None),
        advantages_of(no_reference, [1.0, -1.0], 0.5),  # the reference's advantage has no tokens to go to
        advantages_of(only_reference, [None, None], 0.5),
    ]
    data = training_set(tmp_path, groups, advantages)
    assert data.num_groups == 4
    assert [data[i].group_id for i in range(len(data))] == [g["group_id"] for g in (full, no_reference, only_reference)]
    assert [len(data[i].sequences) for i in range(len(data))] == [3, 2, 1]


def test_a_completion_without_tokens_is_not_trained_on(tmp_path: Path) -> None:
    """An aborted sample may be empty: it has no mean log-prob."""
    one_empty = tiny.group_row("one", ["a", ""], token_ids=[[5, 2], []])
    all_empty = tiny.group_row("all", ["", ""], token_ids=[[], []])
    empty_reference = tiny.group_row("reference", ["", ""], token_ids=[[], []]) | {"reference_token_ids": []}
    groups = [one_empty, all_empty, empty_reference]
    advantages = [
        advantages_of(one_empty, [1.0, -1.0], None),
        advantages_of(all_empty, [1.0, -1.0], None),
        advantages_of(empty_reference, [1.0, -1.0], 1.0),
    ]
    data = training_set(tmp_path, groups, advantages)
    assert [data[i].group_id for i in range(len(data))] == [one_empty["group_id"]]
    assert [(s.token_ids, s.group_size) for s in data[0].sequences] == [([5, 2], 1)]


def test_advantages_of_another_number_of_samples_are_refused(tmp_path: Path) -> None:
    group = tiny.group_row("p", ["a", "b"])
    data = training_set(tmp_path, [group], [advantages_of(group, [1.0, -1.0, 0.5], None)])
    with pytest.raises(MismatchError, match="has 2 samples but 3 advantages"):
        data.check_fits(100, None)


def test_advantages_of_other_groups_are_refused(tmp_path: Path) -> None:
    group, other = tiny.group_row("p", ["a"]), tiny.group_row("q", ["a"])
    with pytest.raises(MismatchError, match="made from other groups"):
        training_set(tmp_path, [group], [advantages_of(other, [1.0], None)])


@pytest.mark.parametrize(
    ("change", "vocab_size", "context_length", "message"),
    [
        ({}, 11, None, "holds token id 11; the model's vocabulary has 11"),
        ({}, 100, 6, "has a sequence of 7 tokens; the model's positions end at 6"),
        ({"prompt_token_ids": []}, 100, None, "has an empty prompt_token_ids"),
    ],
)
def test_groups_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, change: Row, vocab_size: int, context_length: int | None, message: str
) -> None:
    # Three prompt tokens, a reference of four: 9, 10, 11, 2.
    group = tiny.group_row("p", ["a"]) | change
    data = training_set(tmp_path, [group], [advantages_of(group, [1.0], 1.0)])
    with pytest.raises(InputError, match=message) as error:
        data.check_fits(vocab_size, context_length)
    assert group["group_id"] in str(error.value)


def test_groups_that_just_fit_are_accepted(tmp_path: Path) -> None:
    group = tiny.group_row("p", ["a"])
    training_set(tmp_path, [group], [advantages_of(group, [1.0], 1.0)]).check_fits(12, 7)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
def test_every_epoch_holds_every_group_exactly_once(
    num_groups: int, groups_per_step: int, epochs: int, seed: int
) -> None:
    plan = list(step_plan(num_groups, groups_per_step, epochs, seed))
    assert len(plan) == epochs * -(-num_groups // groups_per_step)
    for epoch in range(epochs):
        steps = [indices for of_epoch, indices in plan if of_epoch == epoch]
        assert sorted(index for step in steps for index in step) == list(range(num_groups))
        assert all(len(step) == groups_per_step for step in steps[:-1])
    assert [epoch for epoch, _ in plan] == sorted(epoch for epoch, _ in plan)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert orders == [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert list(range(50)) not in orders


def groups_of_lengths(lengths: list[list[int]]) -> list[TrainingGroup]:
    """Groups of continuations of these lengths; group number n has a prompt of n + 1 tokens."""
    return [
        TrainingGroup(
            str(number),
            [
                TrainingSequence([1] * (number + 1), [number] * n, 1.0, False, len(group), 0.0, False, None, None)
                for n in group
            ],
        )
        for number, group in enumerate(lengths)
    ]


def tokens_of(batch: list[TrainingSequence]) -> int:
    """Of a batch: every group's prompt once (the continuation's token says which group it is), and continuations."""
    prompts = {sequence.token_ids[0]: len(sequence.prompt_token_ids) for sequence in batch}
    return sum(prompts.values()) + sum(len(sequence.token_ids) for sequence in batch)


lengths_of_groups = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=5)


@given(lengths_of_groups, st.integers(1, 120))
def test_micro_batches_hold_every_sequence_once_in_order_within_the_limit(
    lengths: list[list[int]], tokens_per_batch: int
) -> None:
    groups = groups_of_lengths(lengths)
    batches = list(micro_batches(groups, tokens_per_batch))
    assert [s for batch in batches for s in batch] == [s for group in groups for s in group.sequences]
    for batch in batches:
        assert batch
        assert tokens_of(batch) <= tokens_per_batch or len(batch) == 1


@given(lengths_of_groups, st.integers(1, 120))
def test_a_group_that_fits_a_batch_is_never_cut(lengths: list[list[int]], tokens_per_batch: int) -> None:
    batches = list(micro_batches(groups_of_lengths(lengths), tokens_per_batch))
    for number, group in enumerate(lengths):
        if number + 1 + sum(group) <= tokens_per_batch:
            assert sum(any(s.token_ids[0] == number for s in batch) for batch in batches) == 1


@given(lengths_of_groups, st.integers(1, 120))
def test_whole_groups_are_never_cut_however_large(lengths: list[list[int]], tokens_per_batch: int) -> None:
    groups = groups_of_lengths(lengths)
    batches = list(micro_batches(groups, tokens_per_batch, whole_groups=True))
    assert [s for batch in batches for s in batch] == [s for group in groups for s in group.sequences]
    for batch in batches:
        held = {s.token_ids[0] for s in batch}
        assert len(batch) == sum(len(lengths[number]) for number in held)
        assert tokens_of(batch) <= tokens_per_batch or len(held) == 1


def test_a_prompt_counts_once_for_its_group() -> None:
    # A prompt of 1 with 2 + 2 + 2, then one of 2 with 3 + 3: 7 and 8 tokens.
    groups = groups_of_lengths([[2, 2, 2], [3, 3]])
    assert [len(batch) for batch in micro_batches(groups, 15)] == [5]
    assert [len(batch) for batch in micro_batches(groups, 14)] == [3, 2]
    # 5 tokens hold 1 + 2 + 2, then 1 + 2; 2 + 3 alone.
    assert [len(batch) for batch in micro_batches(groups, 5)] == [2, 1, 1, 1]
    assert [len(batch) for batch in micro_batches(groups, 5, whole_groups=True)] == [3, 2]


def test_weights_of_tokens_come_with_their_sample(tmp_path: Path) -> None:
    group = tiny.group_row("p", ["a", "b", "c"])
    row = advantages_of(group, [1.0, None, -0.5], 2.0) | {"token_weights": [[0.5, 0.0, 2.0], [1.0, 1.0, 1.0], None]}
    sequences = training_set(tmp_path, [group], [row])[0].sequences
    # The second sample has no advantage; the reference has no weights.
    assert [each.token_weights for each in sequences] == [[0.5, 0.0, 2.0], None, None]


def test_weights_of_another_number_of_tokens_are_refused(tmp_path: Path) -> None:
    group = tiny.group_row("p", ["a", "b"])
    row = advantages_of(group, [1.0, -1.0], None) | {"token_weights": [None, [1.0, 1.0]]}
    data = training_set(tmp_path, [group], [row])
    with pytest.raises(MismatchError, match="sample 1 has 3 tokens but 2 token_weights") as error:
        data.check_fits(100, None)
    assert group["group_id"] in str(error.value)
