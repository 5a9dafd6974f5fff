"""The objective as the paper writes it: row by row, without padding, by transformers' own forward and autograd.

Independent of the library: plain Python over rows of the tables. Precision is that of the model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

Row = Mapping[str, Any]


def sequence_logprobs(model: Any, prompt: Sequence[int], ids: Sequence[int]) -> Tensor:
    """log p(token | all before it) of every token of a continuation. [L]"""
    logprobs = whole_logprobs(model, prompt, ids)
    return torch.stack([logprobs[i, token] for i, token in enumerate(ids)])


def whole_logprobs(model: Any, prompt: Sequence[int], ids: Sequence[int]) -> Tensor:
    """log p(every token of the vocabulary | all before it) at the places of a continuation. [L, V]"""
    logits = model(torch.tensor([[*prompt, *ids]])).logits[0]
    return torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : len(prompt) - 1 + len(ids)]


def likelihood(
    model: Any, prompt: Sequence[int], ids: Sequence[int], token_weights: Sequence[float] | None = None
) -> Tensor:
    """ℓ(s): nats per token, each token's log-prob times its weight where there are weights."""
    logprobs = sequence_logprobs(model, prompt, ids)
    weighted = logprobs if token_weights is None else logprobs * torch.tensor(token_weights, dtype=logprobs.dtype)
    return weighted.sum() / len(ids)


def group_advantages(
    rewards: Sequence[float | None], reference_reward: float | None, statistics: str
) -> tuple[list[float | None], float | None]:
    """Eq. 4, rounded to the float32 in which tables store it; unscored sequences have none."""
    counted = [reward for reward in rewards if reward is not None]
    if statistics == "samples_and_reference" and reference_reward is not None:
        counted.append(reference_reward)
    mean = sum(counted) / len(counted) if counted else 0.0
    std = math.sqrt(sum((reward - mean) ** 2 for reward in counted) / len(counted)) if counted else 0.0

    def advantage(reward: float | None) -> float | None:
        if reward is None:
            return None
        return float(np.float32((reward - mean) / std)) if len(set(counted)) > 1 else 0.0

    return [advantage(reward) for reward in rewards], advantage(reference_reward)


@dataclass(frozen=True)
class Terms:
    """The three terms of J."""

    exploration: Tensor
    imitation: Tensor
    regularizer: Tensor

    @property
    def total(self) -> Tensor:
        return self.exploration + self.imitation + self.regularizer


def group_terms(model: Any, group: Row, advantages: Row, beta: float, lambda_: float) -> Terms | None:
    """Eq. 3 for one group; None where the group has nothing to train on.

    The samples are those with an advantage; without a reference that has one, ℓ(y) and its two terms are left out.
    """
    prompt = group["prompt_token_ids"]
    completions = group["completion_token_ids"]
    weights = advantages["token_weights"] or [None] * len(completions)
    triples = zip(advantages["advantages"], completions, weights, strict=True)
    samples = [(a, likelihood(model, prompt, ids, factors)) for a, ids, factors in triples if a is not None]
    zero = torch.zeros((), dtype=next(model.parameters()).dtype)
    reference: Tensor | None = None
    if group["reference_token_ids"] is not None and advantages["reference_advantage"] is not None:
        reference = likelihood(model, prompt, group["reference_token_ids"])
    if not samples and reference is None:
        return None
    num_samples = max(1, len(samples))
    exploration = sum((a * value for a, value in samples), zero) / num_samples
    if reference is None:
        return Terms(exploration, zero, zero)
    # (1/G) Σ_i β Â_y ℓ(y) = β Â_y ℓ(y)
    imitation = beta * advantages["reference_advantage"] * reference
    regularizer = sum((lambda_ * a * (value - reference) for a, value in samples), zero) / num_samples
    return Terms(exploration, imitation, regularizer)


def step_terms(model: Any, groups: Sequence[Row], advantages: Sequence[Row], beta: float, lambda_: float) -> Terms:
    """The terms' means over the groups that have something to train on."""
    made = [group_terms(model, g, a, beta, lambda_) for g, a in zip(groups, advantages, strict=True)]
    terms = [term for term in made if term is not None]

    def mean(name: str) -> Tensor:
        values: list[Tensor] = [getattr(term, name) for term in terms]
        return torch.stack(values).mean()

    return Terms(mean("exploration"), mean("imitation"), mean("regularizer"))


def backward(value: Tensor) -> None:
    """`value.backward()`, which torch leaves untyped."""
    value.backward()  # type: ignore[no-untyped-call]


def load_model(path: Any, dtype: str = "float32") -> Any:
    """A model directory by transformers itself, without dropout."""
    return AutoModelForCausalLM.from_pretrained(str(path), dtype=dtype).eval()


def table_rows(url: Any) -> list[dict[str, Any]]:
    """The rows of a table's Parquet files, in order."""
    return [row for path in sorted(Path(url).glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
