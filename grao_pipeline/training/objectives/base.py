"""The Objective seam: token log-probs and advantages in, loss and metrics out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from grao_pipeline.errors import UsageError

NO_ARGUMENTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class ObjectiveInputs:
    """A micro-batch of S sequences of at most L tokens, any subset of the step's sequences.

    Shapes: `token_logprobs` [S, L] in nats, 0 at padding; `token_mask` [S, L], True at tokens of the continuation;
    `token_weights` [S, L], a factor per token, 1 where there is none; `behavior_logprobs` [S, L] of the policy that
    sampled, 0 where unknown and at padding; all others [S].

    `has_behavior` is True where `behavior_logprobs` are known; `rewards` and `group_mean_reward` are NaN where there
    is none. `group` numbers the groups of the micro-batch from 0; the sequences of a group are neighbours.
    """

    token_logprobs: Tensor
    token_mask: Tensor
    advantages: Tensor
    is_reference: Tensor
    group_size: Tensor
    group_mean_advantage: Tensor
    group_has_reference: Tensor
    token_weights: Tensor
    behavior_logprobs: Tensor
    has_behavior: Tensor
    rewards: Tensor
    group_mean_reward: Tensor
    group: Tensor

    def mean_logprobs(self) -> Tensor:
        """ℓ(s): mean log-prob of the sequence's tokens, in nats per token. [S]"""
        return self.mean_over_tokens(self.token_logprobs)

    def weighted_mean_logprobs(self) -> Tensor:
        """ℓ(s) with every token's log-prob multiplied by its weight. [S]"""
        return self.mean_over_tokens(self.token_logprobs * self.token_weights)

    def log_ratios(self) -> Tensor:
        """log π_θ − log π_behavior of every token; 0 where the second is unknown, and at padding. [S, L]"""
        known = self.token_mask & self.has_behavior[:, None]
        return torch.where(known, self.token_logprobs - self.behavior_logprobs, 0.0)

    def mean_over_tokens(self, values: Tensor) -> Tensor:
        """Mean of a value per token [S, L] over each sequence's tokens. [S]"""
        return (values * self.token_mask).sum(dim=1) / self.token_mask.sum(dim=1)

    def sample_share(self) -> Tensor:
        """1/G for a sample, 0 for a reference: summed with it, a value per sequence is its group's mean. [S]"""
        return (~self.is_reference).to(self.group_size.dtype) / self.group_size.clamp(min=1)


@dataclass(frozen=True)
class ObjectiveOutputs:
    """The loss summed over the micro-batch's share of its groups (the trainer divides by the groups of the step), and
    further sums for the metrics, each a detached scalar."""

    loss: Tensor
    sums: dict[str, Tensor]


class Objective(Protocol):
    """Constructed as `Objective(beta=…, lambda_=…, arguments=…)`, the last only where there are some, from
    `--objective-arg key=value` (`take_arguments`); a new objective is one class in one file and one line in
    `OBJECTIVES`. Its docstring is its formula, its source, and what it needs from the shards.

    What it may say of itself, each False if it says nothing, but for the last:

    - `is_linear`: its loss is linear in the log-probs, so that the head's gradient is made in the same pass; any other
      costs the head once more.
    - `couples_group`: it wants whole groups.
    - `needs_behavior_logprobs`, `needs_rewards`: of every sample that is trained on.
    - `needs_references`: of some group.
    - `takes_corrections`: it multiplies tokens by `token_weights` and has no importance ratio of its own, so that
      `--correction` and `--negative-floor` mean something (`corrections.py`).
    - `uses_beta_and_lambda`: `--beta` and `--lambda` do something.
    """

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs: ...


class FakeObjective:
    """A public fake for tests: plain likelihood of every sequence, −Σ ℓ(s) / G."""

    is_linear = True

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0, arguments: Mapping[str, str] = NO_ARGUMENTS) -> None:
        take_arguments("fake", arguments)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        loss = -(inputs.mean_logprobs() / inputs.group_size.clamp(min=1)).sum()
        return ObjectiveOutputs(loss, {"likelihood": -loss.detach()})


def take_arguments(objective: str, arguments: Mapping[str, str], **defaults: str | None) -> dict[str, str]:
    """The arguments of an objective over its defaults; a default of None makes an argument required.

    Example: `take_arguments("dpo", {"dpo_beta": "0.2"}, dpo_beta="0.1")` → `{"dpo_beta": "0.2"}`

    Raises:
        UsageError: an argument is unknown or missing.
    """
    known = ", ".join(sorted(defaults)) or "none"
    unknown = sorted(set(arguments) - set(defaults))
    if unknown:
        raise UsageError(
            f"--objective-arg {unknown[0]}: objective '{objective}' has no such argument. It has: {known}."
        )
    merged = {**defaults, **arguments}
    missing = [name for name, value in merged.items() if value is None]
    if missing:
        raise UsageError(f"Objective '{objective}' needs --objective-arg {missing[0]}=…; its arguments are: {known}.")
    return {name: str(value) for name, value in merged.items()}


def parse_number(
    objective: str, name: str, text: str, lowest: float = -math.inf, above: float = -math.inf, highest: float = math.inf
) -> float:
    """An argument that is a finite number, at least `lowest`, more than `above`, and at most `highest`.

    Raises:
        UsageError: it is not.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not lowest <= value <= highest or value <= above:
        limits = [f"at least {lowest:g}"] * (lowest > -math.inf) + [f"more than {above:g}"] * (above > -math.inf)
        limits += [f"at most {highest:g}"] * (highest < math.inf)
        expected = " ".join(["a number", " and ".join(limits)]).strip()
        raise UsageError(f"--objective-arg {name}={text}: objective '{objective}' needs {expected}.")
    return value


def parse_choice(objective: str, name: str, text: str, choices: Sequence[str]) -> str:
    """An argument that is one of some words.

    Raises:
        UsageError: it is not.
    """
    if text not in choices:
        raise UsageError(f"--objective-arg {name}={text}: objective '{objective}' knows {' and '.join(choices)}.")
    return text
