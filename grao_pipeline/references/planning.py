"""What the rounds ask about `grao references` before it runs."""

from collections.abc import Callable, Sequence

from grao_pipeline.options import StageOptions
from grao_pipeline.references.options import ReferencesOptions
from grao_pipeline.references.references import references_provenance
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.storage.manifest import Provenance


def check(options: StageOptions) -> None:
    """Raises UsageError if the reward is unknown or an argument of it is wrong."""
    assert isinstance(options, ReferencesOptions)
    judging = options.judging()
    if judging is not None:
        make_reward(judging).close()


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    """The identity of the prompts with their references."""
    assert isinstance(options, ReferencesOptions)
    return references_provenance(options, provenance_of(inputs[0]).fingerprint)
