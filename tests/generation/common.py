"""What the tests of generation share: types, an engine that stays open, and transformers as the oracle."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from grao_pipeline.generation.engines.base import Engine, Request, SampledGroup, Sampling
from tests import tiny

Group = dict[str, Any]
STOPS = [2, *range(60, 100)]
"""Forty-one of 320 tokens end a turn of the stopping model, so that samples of it stop early, at the end, or never."""


class KeptOpen(Engine):
    """An engine that several runs share."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        return self._engine.generate(parts, sampling)

    def close(self) -> None:
        pass


@cache
def oracle(model: Path) -> Any:
    """The model as transformers itself loads it, in float32."""
    return AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32).eval()


@torch.inference_mode()
def next_token_logits(model: Path, ids: Sequence[int]) -> torch.Tensor:
    """Logits after every token of one sequence, by one plain forward pass: no cache, no padding. [T, V]"""
    logits: torch.Tensor = oracle(model)(torch.tensor([list(ids)])).logits[0]
    return logits


def untempered_logprobs(model: Path, prompt: Sequence[int], completion: Sequence[int]) -> list[float]:
    """log softmax(logits) of every token of the completion, in nats."""
    logits = next_token_logits(model, [*prompt, *completion])[len(prompt) - 1 : -1]
    values = torch.log_softmax(logits.double(), dim=-1)[torch.arange(len(completion)), list(completion)]
    logprobs: list[float] = values.tolist()
    return logprobs


def prompts_of_lengths(path: Path, lengths: Sequence[int]) -> str:
    """A table of prompts of these lengths in tokens: 17 of the tiny chat template, and one per digit."""
    rows = [tiny.prompt_row("7" * (length - 17), "5", index=index) for index, length in enumerate(lengths)]
    return tiny.write_table(path, "prompts", rows)


def token_ids(groups: Sequence[Group]) -> list[list[list[int]]]:
    """The sampled ids of every group."""
    return [group["completion_token_ids"] for group in groups]
