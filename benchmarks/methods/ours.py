"""Our side: rounds of generate → score → advantages → train, through Parquet tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.methods.sampling import sample_and_score
from benchmarks.methods.settings import GROUPS_PER_STEP, MAX_GRAD_NORM, SAMPLES, WEIGHT_DECAY, Run
from benchmarks.methods.tasks import Task
from grao_pipeline import AdvantagesOptions, TrainOptions, WeightedScores, compute_advantages, train_model


@dataclass(frozen=True)
class Offline:
    """A method of `grao train`.

    Args:
        options: of `grao train`, where they are not the defaults.
        statistics, reference_floor: of `grao advantages`.
        one_step_rounds: sample before every step, and carry the optimizer: as fresh as TRL's GRPO.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    statistics: Literal["samples_and_reference", "samples"] = "samples_and_reference"
    reference_floor: float | None = None
    num_samples: int = SAMPLES
    one_step_rounds: bool = False

    def __call__(
        self, task: Task, run: Run, model: Path, rounds: list[list[dict[str, Any]]], scratch: Path
    ) -> Iterator[Path]:
        """Groups whose rewards are all equal stay in, with advantages of 0, so that every step counts 16 groups."""
        advantages_options = AdvantagesOptions(
            statistics=self.statistics, reference_floor=self.reference_floor, keep_zero_variance=True
        )
        for number, rows in enumerate(rounds):
            size = GROUPS_PER_STEP if self.one_step_rounds else len(rows)
            for start in range(0, len(rows), size):
                folder = scratch / f"round-{number}-{start}"
                is_first = number == start == 0
                model = self._round(task, run, model, rows[start : start + size], folder, advantages_options, is_first)
            yield model

    def _round(
        self,
        task: Task,
        run: Run,
        model: Path,
        rows: list[dict[str, Any]],
        folder: Path,
        advantages_options: AdvantagesOptions,
        is_first: bool,
    ) -> Path:
        """The model after one round: generate → score → advantages → train."""
        scored = sample_and_score(task, model, rows, folder, self.num_samples, run.seed)
        advantages = str(folder / "advantages")
        chosen = advantages_options.model_copy(update={"scores": [WeightedScores(url=scored.scores)]})
        compute_advantages(scored.groups, advantages, chosen)
        options = TrainOptions(
            **{
                "model": str(model),
                "learning_rate": run.learning_rate,
                "weight_decay": WEIGHT_DECAY,
                "max_grad_norm": MAX_GRAD_NORM,
                "groups_per_step": GROUPS_PER_STEP,
                "seed": run.seed,
                "checkpoint_steps": 0,
                "device": "cpu",
                "save_optimizer": self.one_step_rounds,
                "carry_optimizer": self.one_step_rounds and not is_first,
                **self.options,
            }
        )
        trained = folder / "model"
        train_model(scored.groups, advantages, str(trained), options)
        return trained
