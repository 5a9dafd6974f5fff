"""What the tests of rewards share: a reward made as the command makes it, asked about a few texts."""

from collections.abc import Sequence
from typing import Any

from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.score import make_reward

MESSAGES = [{"role": "user", "content": "What is 2 + 3?"}]


def judge(
    reward: str, texts: Sequence[str], *arguments: str, reference: str | None = None, **metadata: Any
) -> list[Judgement]:
    """What a reward says of completions of one prompt.

    Args:
        arguments: `key=value`, as given to `--reward-arg`.
    """
    candidates = [Candidate(MESSAGES, text, reference, metadata) for text in texts]
    return list(make_reward(ScoreOptions(reward=reward, reward_arg=list(arguments))).score(candidates))


def rewards(judgements: Sequence[Judgement]) -> list[float | None]:
    return [judgement.reward for judgement in judgements]
