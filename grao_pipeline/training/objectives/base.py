"""The Objective seam: token log-probs and advantages in, loss and metrics out."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self

import torch
from torch import Tensor

from grao_pipeline.arguments import NoArguments, PluginArguments
from grao_pipeline.errors import UsageError

BEHAVIOR = "behavior"
"""The policy that sampled, as the name of a model that an objective compares with."""
COMPARING = ("against", "kl_against", "teacher")
"""Arguments of objectives that name such a model: `behavior`, or the NAME of a `--logprobs`."""
Course = Callable[[float], float]
"""A number as a function of the share of the steps that are done."""


@dataclass(frozen=True)
class ObjectiveInputs:
    """A micro-batch of S sequences of at most L continuation tokens: any subset of the sequences of a step."""

    token_logprobs: Tensor
    """log π_θ of every token, in nats; 0 at padding. [S, L]"""
    token_mask: Tensor
    """True at tokens, False at padding. [S, L]"""
    advantages: Tensor
    """[S]"""
    is_reference: Tensor
    """True for a reference, False for a sample. [S]"""
    group_size: Tensor
    """G: number of samples with an advantage in the sequence's group. [S]"""
    group_mean_advantage: Tensor
    """Mean advantage of those samples. [S]"""
    group_has_reference: Tensor
    """Whether the group's reference is trained on. [S]"""
    token_weights: Tensor
    """Factor of every token's log-prob; 1 where the table has none. [S, L]"""
    behavior_logprobs: Tensor
    """log π_behavior of every token, π_behavior the policy that sampled, at temperature 1; 0 where unknown and at
    padding. [S, L]"""
    has_behavior: Tensor
    """Whether `behavior_logprobs` are known. [S]"""
    rewards: Tensor
    """NaN where the sequence has no reward. [S]"""
    group_mean_reward: Tensor
    """Mean reward of the group's samples with an advantage; NaN where they have no rewards. [S]"""
    group: Tensor
    """Number of the sequence's group in the micro-batch, from 0. Sequences of a group are neighbors. [S]"""
    sampling_logprobs: Tensor | None = None
    """Log-prob of every token under the distribution that was sampled from, which temperature, top-p, … make of
    π_behavior; 0 where unknown and at padding. None: `behavior_logprobs`. [S, L]"""
    has_sampling: Tensor | None = None
    """Whether `sampling_logprobs` are known. None: `has_behavior`. [S]"""
    group_tokens: Tensor | None = None
    """Number of tokens of the group's samples with an advantage. [S]"""
    logprobs: Mapping[str, Tensor] = field(default_factory=dict)
    """By the NAME of `--logprobs`, the log-probs under another model, of references as well; 0 at padding. [S, L]"""
    progress: float = 0.0
    """Share of the training's steps that are done: 0 in the first step, 1 in the last."""
    token_ids: Tensor | None = None
    """0 at padding. [S, L]"""
    top_logprobs: Tensor | None = None
    """log π_θ of the K likeliest tokens of the model that `top_tokens_of` names, at every place; 0 at padding.
    [S, L, K]"""
    teacher_top_logprobs: Tensor | None = None
    """Their log-probs under that model; 0 at padding. [S, L, K]"""

    def mean_logprobs(self) -> Tensor:
        """ℓ(s): mean log-prob of the tokens of each sequence, in nats per token. [S]"""
        return self.mean_over_tokens(self.token_logprobs)

    def weighted_mean_logprobs(self) -> Tensor:
        """ℓ(s) with the log-prob of every token multiplied by its weight. [S]"""
        return self.mean_over_tokens(self.token_logprobs * self.token_weights)

    def log_ratios(self) -> Tensor:
        """log π_θ − log π_behavior of every token; 0 where π_behavior is unknown, and at padding. [S, L]"""
        known = self.token_mask & self.has_behavior[:, None]
        return torch.where(known, self.token_logprobs - self.behavior_logprobs, 0.0)

    def log_ratios_to(self, name: str) -> Tensor:
        """log π_θ minus the log-prob under the policy that sampled (`behavior`) or under the model of a `--logprobs`;
        0 where unknown, and at padding. [S, L]
        """
        if name == BEHAVIOR:
            return self.log_ratios()
        return torch.where(self.token_mask, self.token_logprobs - self.logprobs[name], 0.0)

    def rows_of_groups(self) -> list[list[int]]:
        """The rows of the samples of every group, in order. Only with whole groups these are all of a group's."""
        rows: dict[int, list[int]] = {}
        pairs = zip(self.group.tolist(), self.is_reference.tolist(), strict=True)
        for row, (group, is_reference) in enumerate(pairs):
            if not is_reference:
                rows.setdefault(group, []).append(row)
        return list(rows.values())

    def sampling_log_ratios(self) -> Tensor:
        """log π_θ minus the log-prob under the distribution that was sampled from, the logarithm of a token's
        importance weight; 0 where unknown, and at padding. [S, L]
        """
        if self.sampling_logprobs is None:
            return self.log_ratios()
        return torch.where(self.sampling_mask(), self.token_logprobs - self.sampling_logprobs, 0.0)

    def sampling_mask(self) -> Tensor:
        """True at tokens whose log-prob under the distribution that was sampled from is known. [S, L]"""
        known = self.has_behavior if self.has_sampling is None else self.has_sampling
        return self.token_mask & known[:, None]

    def mean_over_tokens(self, values: Tensor) -> Tensor:
        """Mean of `values` [S, L] over the tokens of each sequence. [S]"""
        return (values * self.token_mask).sum(dim=1) / self.token_mask.sum(dim=1)

    def sample_share(self) -> Tensor:
        """1/G for a sample, 0 for a reference: a sum over sequences with these weights is the mean over a group. [S]"""
        return (~self.is_reference).to(self.group_size.dtype) / self.group_size.clamp(min=1)

    def token_share(self) -> Tensor:
        """1/N for a token of a sample, N the tokens of the group's samples; 0 for references and padding: a sum with
        these weights is the mean over the tokens of a group. [S, L]
        """
        assert self.group_tokens is not None
        share = (~self.is_reference).to(self.group_tokens.dtype) / self.group_tokens.clamp(min=1)
        return share[:, None] * self.token_mask


@dataclass(frozen=True)
class ObjectiveOutputs:
    """What an objective returns."""

    loss: Tensor
    """The loss summed over the groups' shares in the micro-batch; the trainer divides by the groups of the step. []"""
    sums: dict[str, Tensor]
    """Further sums for the metrics, without a graph. [] each"""


@dataclass(frozen=True)
class Traits:
    """What the trainer must know of an objective before it calls it."""

    is_linear: bool = False
    """The loss is linear in the log-probs, so the LM head's gradient is made in the forward pass. Objectives without
    this trait run the head a second time."""
    couples_group: bool = False
    """A micro-batch must hold whole groups."""
    needs_behavior_logprobs: bool = False
    """Every sample that is trained on must have `behavior_logprobs`."""
    needs_rewards: bool = False
    """Every sample that is trained on must have a reward."""
    needs_references: bool = False
    """At least one group must have a reference to train on."""
    takes_corrections: bool = False
    """The objective multiplies log-probs by `token_weights` and has no importance ratio itself, so `--correction` and
    `--negative-floor` apply (`importance_sampling.py`)."""
    reads_top_tokens: bool = False
    """It reads `top_logprobs`: those of the model that its argument `teacher` names."""
    uses_beta_and_lambda: bool = False
    """The objective is constructed with β and λ: `MyObjective(arguments=…, beta=0.5, lambda_=0.6)`."""


TRAITS = tuple(field.name for field in fields(Traits))


class Objective(ABC):
    """Maps the log-probs of a micro-batch to a loss.

    A new objective is one class in one file and one line in `OBJECTIVES`. Its module's docstring gives the formula and
    its source. It is constructed with `arguments`, the parsed `--objective-arg key=value`, and, where its traits say
    so, with `beta` and `lambda_`.

    Example:
        class Reinforce(Objective):
            class Arguments(PluginArguments):
                scale: PositiveFloat = argument(1.0, "Factor of the loss.")

            arguments: Arguments
            traits = Traits(is_linear=True)

            def __call__(self, inputs):
                weights = self.arguments.scale * inputs.advantages * inputs.sample_share()  # [S]
                return ObjectiveOutputs(-(weights * inputs.mean_logprobs()).sum(), {})

    Raises:
        UsageError: a subclass sets a trait outside of `traits`, where it would have no effect.
    """

    Arguments: ClassVar[type[PluginArguments]] = NoArguments
    """Model of the arguments that are given as `--objective-arg key=value`."""
    traits: ClassVar[Traits] = Traits()

    courses: Mapping[str, Course] = {}
    """Arguments whose value changes over the training, by name."""

    def __init__(self, arguments: PluginArguments | None = None) -> None:
        self.arguments = self.Arguments() if arguments is None else arguments

    def at(self, progress: float) -> Self:
        """The objective with the arguments that it has when this share of the steps is done."""
        if not self.courses:
            return self
        objective = copy.copy(self)
        values = {name: course(progress) for name, course in self.courses.items()}
        objective.arguments = self.arguments.model_copy(update=values)
        return objective

    @property
    def other_models(self) -> set[str]:
        """The NAMEs of `--logprobs` that its arguments name."""
        names = {str(getattr(self.arguments, name, BEHAVIOR)) for name in COMPARING}
        return names - {BEHAVIOR}

    @property
    def top_tokens_of(self) -> str | None:
        """The NAME of `--logprobs` whose likeliest tokens it reads; None where it reads none."""
        return str(getattr(self.arguments, "teacher", "")) if self.traits.reads_top_tokens else None

    @property
    def compares_with_behavior(self) -> bool:
        """Whether it reads the log-probs of the policy that sampled."""
        against = getattr(self.arguments, "against", BEHAVIOR)
        return self.traits.needs_behavior_logprobs and against == BEHAVIOR

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        where = f"{cls.__module__}:{cls.__qualname__}"
        for name, value in vars(cls).items():
            if name in TRAITS or (isinstance(value, bool) and not name.startswith("_")):
                advice = f"Write: traits = Traits({name}={value})." if name in TRAITS else "It is not a trait."
                raise UsageError(
                    f"{where} sets the class attribute '{name}'. {advice} The traits of an objective are: "
                    f"{', '.join(TRAITS)}.",
                    option="objective",
                )
            if name == "traits" and not isinstance(value, Traits):
                raise UsageError(f"{where}: traits must be a Traits(…), not {value!r}.", option="objective")
            if name != "traits" and isinstance(value, Traits):
                raise UsageError(f"{where} sets '{name}' to its traits. Rename it to: traits.", option="objective")

    @abstractmethod
    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        """The loss of a micro-batch. `inputs` may be any subset of a step's sequences: every sequence carries what its
        weight depends on."""


class FakeObjective(Objective):
    """A public fake for tests: plain likelihood of every sequence, −Σ ℓ(s) / G."""

    traits = Traits(is_linear=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        loss = -(inputs.mean_logprobs() / inputs.group_size.clamp(min=1)).sum()
        return ObjectiveOutputs(loss, {"likelihood": -loss.detach()})
