"""Tokens that the policy did not sample, taken out by hand: what an objective must see of a masked sample."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from grao_pipeline.training.data.sequences import TopTokens, TrainingGroup, TrainingSequence
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs
from grao_pipeline.training.objectives.make import construct
from grao_pipeline.training.options import TrainOptions
from tests.training import oracle

TEACHER = "teacher"
TOP = [3, 17, 30]
"""The likeliest tokens of the teacher, everywhere."""
REQUIRED = {
    "bridged-pair": [f"against={TEACHER}"],
    "gkd": [f"teacher={TEACHER}", "references=0.5"],
    "sparse-pair": ["share=0.5"],
    "dr-grpo": ["max_completion_length=8"],
    "distillation": [f"teacher={TEACHER}"],
    "trpa": ["levels=[0.9, 0.3]"],
}
"""Arguments of the objectives that do not work without them."""


def with_teacher(groups: Sequence[TrainingGroup]) -> list[TrainingGroup]:
    """The groups with log-probs of a teacher, which prefers small token IDs, and late ones less."""

    def taught(one: TrainingSequence) -> TrainingSequence:
        places = range(1, len(one.token_ids) + 1)
        top = TopTokens([TOP for _ in places], [[-1.0 - place / 10, -1.5, -2.0] for place in places])
        logprobs = [-token_id / 10 for token_id in one.token_ids]
        return replace(one, logprobs={TEACHER: logprobs}, top={TEACHER: top})

    return [replace(group, sequences=[taught(one) for one in group.sequences]) for group in groups]


def by_hand(model: Any, sequences: Sequence[TrainingSequence]) -> ObjectiveInputs:
    """The inputs of an objective with the tokens of tools taken out by hand, from transformers' own forward."""
    masks = [one.mask or [True] * len(one.token_ids) for one in sequences]
    longest = max(map(sum, masks))

    def row(values: Sequence[float] | None, mask: Sequence[bool], otherwise: float) -> list[float]:
        picked = [] if values is None else list(compress(values, mask))
        return [*picked, *[otherwise] * (longest - len(picked))]

    def numbers(values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    def padded(values: Sequence[Tensor]) -> Tensor:
        picked = [of[torch.tensor(mask)] for of, mask in zip(values, masks, strict=True)]
        return torch.nn.utils.rnn.pad_sequence(picked, batch_first=True)

    logprobs = [oracle.sequence_logprobs(model, one.prompt_token_ids, one.token_ids) for one in sequences]
    whole = [oracle.whole_logprobs(model, one.prompt_token_ids, one.token_ids) for one in sequences]
    names = list(dict.fromkeys(one.group_id for one in sequences))
    pairs = list(zip(sequences, masks, strict=True))
    return ObjectiveInputs(
        token_logprobs=padded(logprobs),
        token_mask=torch.tensor([[place < sum(mask) for place in range(longest)] for mask in masks]),
        advantages=numbers([one.advantage for one in sequences]),
        is_reference=torch.tensor([one.is_reference for one in sequences]),
        group_size=numbers([one.group_size for one in sequences]),
        group_mean_advantage=numbers([one.group_mean_advantage for one in sequences]),
        group_has_reference=torch.tensor([one.group_has_reference for one in sequences]),
        token_weights=numbers([row(one.token_weights, mask, 1.0) for one, mask in pairs]),
        behavior_logprobs=numbers([row(one.behavior_logprobs, mask, 0.0) for one, mask in pairs]),
        has_behavior=torch.tensor([one.behavior_logprobs is not None for one in sequences]),
        rewards=numbers([float("nan") if one.reward is None else one.reward for one in sequences]),
        group_mean_reward=numbers([one.group_mean_reward for one in sequences]),
        group=torch.tensor([names.index(one.group_id) for one in sequences]),
        group_tokens=numbers(
            [
                sum(sum(mask) for other, mask in pairs if other.group_id == one.group_id and not other.is_reference)
                for one in sequences
            ]
        ),
        logprobs={TEACHER: numbers([row(one.logprobs.get(TEACHER), mask, 0.0) for one, mask in pairs])},
        token_ids=padded([torch.tensor(one.token_ids) for one in sequences]),
        top_logprobs=padded([of[:, TOP] for of in whole]),
        teacher_top_logprobs=padded([torch.tensor(one.top[TEACHER].logprobs) for one in sequences]).double(),
    )


def objective_named(name: str) -> Objective:
    return construct(TrainOptions(model="m", objective=name, objective_arg=REQUIRED.get(name, [])))
