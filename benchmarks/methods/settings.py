"""What every method shares: the budget, the sampling, the optimizer, the grid, the seeds."""

from dataclasses import dataclass

GROUPS_PER_STEP = 16
SAMPLES = 8
TEMPERATURE = 0.7
"""Of the samples for training and of those for evaluation."""
MAX_NEW_TOKENS = 12
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0
EVALUATION_PROMPTS = 128
EVALUATION_SAMPLES = 4
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
TUNING_SEEDS = (0, 101, 102)
"""Seeds of the tuning runs; their training and held-out prompts differ from those of the reported seeds."""
FIRST_SEED = 1
"""Of the reported seeds."""


@dataclass(frozen=True)
class Budget:
    """How long a training lasts. Each prompt is seen once.

    Attributes:
        rounds: evaluations, and, for methods that sample offline, times that the current model samples.
        steps: optimizer steps of a round.
    """

    rounds: int
    steps: int

    @property
    def prompts_per_round(self) -> int:
        return self.steps * GROUPS_PER_STEP


BUDGET = Budget(rounds=4, steps=5)
LONG_BUDGET = Budget(rounds=8, steps=10)
"""Of the task `mixed`, in which there is more to learn."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        task, method: names in `TASKS` and `METHODS`.
    """

    task: str
    method: str
    learning_rate: float
    seed: int

    @property
    def is_tuning(self) -> bool:
        return self.seed in TUNING_SEEDS

    @property
    def name(self) -> str:
        return f"{self.task}/{self.method}/{self.learning_rate:g}-seed-{self.seed}"
