"""Shared by the tests of rewards: a reward made as the command makes it, asked about a few texts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward

MESSAGES = [{"role": "user", "content": "What is 2 + 3?"}]


def judge(
    reward: str, texts: Sequence[str], *arguments: str, reference: str | None = None, **metadata: Any
) -> list[Judgement]:
    """A reward's judgements of completions of one prompt.

    Args:
        arguments: `key=value`, as given to `--reward-arg`.
    """
    candidates = [Candidate(MESSAGES, text, reference, metadata) for text in texts]
    make = built_in if ":" not in reward else made
    return list(make(reward, *arguments).score(candidates))


def made(reward: str, *arguments: str) -> Reward:
    return make_reward(ScoreOptions(reward=reward, reward_arg=list(arguments)))


@lru_cache
def built_in(reward: str, *arguments: str) -> Reward:
    """One object for all tests of a session: its worker processes start once."""
    return made(reward, *arguments)


def rewards(judgements: Sequence[Judgement]) -> list[float | None]:
    return [judgement.reward for judgement in judgements]
