"""Failed tasks: each ends the rounds, or in a sweep its variant only."""

from collections.abc import Mapping

from grao_pipeline.amounts import some
from grao_pipeline.errors import StageFailure


class TaskFailure(StageFailure):
    """The command of a task failed; what does not need its output can go on."""


def raise_failures(failures: Mapping[str, str]) -> None:
    """
    Args:
        failures: by variant, which of its tasks failed.

    Raises:
        StageFailure: there are any; the variants are named.
    """
    if failures:
        of_variants = [f"{variant}: {message}" for variant, message in failures.items()]
        failed = f"{some(len(failures), 'variant', 'variants')} failed; the others are finished."
        raise StageFailure("\n".join([failed, *of_variants]))
