"""A task's base model and its answers to the held-out prompts, made once per output folder."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.methods.sampling import Scored, sample_and_score
from benchmarks.methods.settings import EVALUATION_PROMPTS, EVALUATION_SAMPLES
from benchmarks.methods.tasks import Task, draw_rows
from examples.demo.pretraining import pretrain
from grao_pipeline import EvaluateOptions, evaluate

BASE_SEED = 0
HELD_OUT_SEEDS = {"tuning": 1, "reported": 2}
METRICS = ("mean_reward", "ras", "nag_win_rate", "nag_net")
Values = dict[str, float]


@dataclass(frozen=True)
class Base:
    """A base model, and the held-out prompts with its answers to them.

    Attributes:
        held_out: use (`tuning`, `reported`) → the base model's scored answers.
    """

    model: Path
    held_out: dict[str, Scored]

    def metrics(self) -> Values:
        """Of its answers to the held-out prompts of the reported runs."""
        scored = self.held_out["reported"]
        return metrics_of(scored, scored, self.model.parent / "evaluation")


def held_out_rows(task: Task, use: str) -> list[dict[str, Any]]:
    """The held-out prompts of a use."""
    return draw_rows(task, EVALUATION_PROMPTS, HELD_OUT_SEEDS[use])


def make_base(task: Task, out: Path) -> Base:
    """Pre-train the base model and judge it, unless an earlier run did."""
    folder = out / "base" / task.name
    model = folder / "model"
    if not model.exists():
        partial = folder / ".model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        trained, tokenizer = pretrain(BASE_SEED, task.demonstrate)
        trained.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(model)
    base = Base(
        model, {use: Scored(*(str(folder / use / name) for name in ("groups", "scores"))) for use in HELD_OUT_SEEDS}
    )
    for use in HELD_OUT_SEEDS:
        if not (folder / use / "done").exists():
            sample_and_score(task, model, held_out_rows(task, use), folder / use, EVALUATION_SAMPLES, BASE_SEED)
            (folder / use / "done").touch()
    return base


def judge(task: Task, base: Base, use: str, model: Path, folder: Path, seed: int) -> Values:
    """The metrics of a model on the held-out prompts."""
    scored = sample_and_score(task, model, held_out_rows(task, use), folder, EVALUATION_SAMPLES, seed)
    return metrics_of(scored, base.held_out[use], folder / "evaluation")


def metrics_of(scored: Scored, base: Scored, out: Path) -> Values:
    """Mean reward, RAS and NAG over the prompts, by the function of `grao evaluate`."""
    options = EvaluateOptions(base_groups=base.groups, base_scores=base.scores, bootstrap_samples=100)
    metrics = asdict(evaluate(scored.groups, scored.scores, str(out), options))["metrics"]
    return {name: metrics[name]["value"] for name in METRICS}
