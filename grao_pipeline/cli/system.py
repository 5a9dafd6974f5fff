"""A published system, and how it is run here: a row of the table of docs/methods.md."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class System:
    """One published system.

    Attributes:
        source: its arXiv number.
        advantages, train: options of the two stages that make it, where they do. A and B are scores of two rewards,
            FEATURE scores with steps, REF the log-probs of another model.
        rounds: what it needs in the YAML of `grao rounds`, in one line.
        otherwise: how it is run where these two stages are not all.
        limits: what is not the published system.
    """

    name: str
    source: str
    advantages: str = ""
    train: str = ""
    rounds: str = field(default="", kw_only=True)
    otherwise: str = ""
    limits: str = ""

    @property
    def is_offered(self) -> bool:
        return bool(self.advantages or self.train or self.rounds or self.otherwise)


SAMPLES = "--statistics samples"
KEEP = "--statistics samples --keep-zero-variance"
NO_REFERENCE = "--beta 0 --lambda 0"
