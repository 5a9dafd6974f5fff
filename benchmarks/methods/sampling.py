"""Rows → prompts → groups → scores, by the functions of the stages, in this process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.methods.settings import MAX_NEW_TOKENS, TEMPERATURE
from benchmarks.methods.tasks import Task, write_rows
from grao_pipeline import (
    GenerateOptions,
    PromptsOptions,
    ScoreOptions,
    build_prompts,
    generate_groups,
    score_groups,
)


@dataclass(frozen=True)
class Scored:
    """A groups table and its scores."""

    groups: str
    scores: str


def sample_and_score(
    task: Task, model: Path, rows: list[dict[str, Any]], folder: Path, num_samples: int, seed: int
) -> Scored:
    """Sample `num_samples` answers to every row's prompt and score them; the tables go to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "prompts.jsonl", rows)
    prompts, groups, scores = (str(folder / name) for name in ("prompts", "groups", "scores"))
    build_prompts(str(folder / "prompts.jsonl"), prompts, PromptsOptions())
    sampling = GenerateOptions(
        model=str(model),
        engine="transformers",
        device="cpu",
        samples=num_samples,
        temperature=TEMPERATURE,
        max_new_tokens=MAX_NEW_TOKENS,
        seed=seed,
        prompts_per_part=len(rows),
        batch_size=128,
    )
    generate_groups(prompts, groups, sampling)
    score_groups(groups, scores, ScoreOptions(reward=task.reward, name=task.name, use_cache=False))
    return Scored(groups, scores)
