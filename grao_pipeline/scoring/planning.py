"""What the rounds ask about `grao score` before it runs."""

from collections.abc import Callable, Sequence

from grao_pipeline.options import StageOptions
from grao_pipeline.scoring.applicability import Applicability
from grao_pipeline.scoring.named_reward import make_reward, reward_name, scores_provenance
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.storage.manifest import Provenance


def label(options: StageOptions) -> str:
    """The reward's name in later tables."""
    assert isinstance(options, ScoreOptions)
    return reward_name(options)


def check(options: StageOptions) -> None:
    """Raises UsageError if the reward is unknown, an argument is wrong, or an option has no effect on it."""
    assert isinstance(options, ScoreOptions)
    Applicability(options, make_reward(options))


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    """The identity of the scores of these options."""
    assert isinstance(options, ScoreOptions)
    return scores_provenance(options, provenance_of(inputs[0]).fingerprint, make_reward(options))


def devices(options: StageOptions) -> int:
    """GPUs that one process of this scoring uses."""
    assert isinstance(options, ScoreOptions)
    return make_reward(options).num_devices() if options.device != "cpu" else 0
