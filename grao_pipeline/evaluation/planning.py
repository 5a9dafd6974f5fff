"""What the rounds need to know of `grao evaluate` before it runs."""

from collections.abc import Callable, Sequence

from grao_pipeline.errors import DamagedPart, MismatchError
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.record import evaluate_provenance, read_evaluation
from grao_pipeline.options import StageOptions
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.places import Place


def is_complete(out: Place) -> bool:
    """Whether a directory holds an undamaged evaluation."""
    try:
        return read_evaluation(str(out)) is not None
    except (DamagedPart, MismatchError):
        return False


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    """The identity of the evaluation that these options make."""
    assert isinstance(options, EvaluateOptions)
    places = [*inputs, options.base_groups, options.base_scores]
    fingerprints = [None if place is None else provenance_of(place).fingerprint for place in places]
    groups, scores, base_groups, base_scores = fingerprints
    return evaluate_provenance(options, str(groups), str(scores), base_groups, base_scores)
