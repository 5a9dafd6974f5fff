"""The optimizer's state that a model was saved with, as the start of another training; free of torch."""

from dataclasses import dataclass
from pathlib import Path

from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.models.manifest import ModelManifest, read_trained_manifest
from grao_pipeline.models.source import ModelSource
from grao_pipeline.training.options import TrainOptions

OPTIMIZER = "optimizer"
"""Folder of a model directory."""


@dataclass(frozen=True)
class CarriedOptimizer:
    """A saved state of the optimizer.

    Example: `CarriedOptimizer(Path("round-0/train/optimizer"), "1f…", 12)`
    """

    directory: Path
    fingerprint: str
    """Of the training that left it, and of the weights that the training ended in: the same for the same training on
    the same machine. The bytes of the files are not, since torch writes a random number into them."""
    steps: int
    """Updates of the optimizer so far, in all trainings that carried it."""


def carried_optimizer(source: ModelSource, options: TrainOptions) -> CarriedOptimizer | None:
    """The state that a training starts from; None where it starts with a new optimizer. Its files were held against
    their checksums when the model was located.

    Raises:
        UsageError: the model, or its adapter, was saved without one.
        MismatchError: it is that of another optimizer.
    """
    if not options.carry_optimizer:
        return None
    if options.lora_rank and source.adapter is None:
        raise UsageError(
            "a new adapter has no optimizer state. Name the adapter that is trained further with --adapter.",
            option="carry_optimizer",
        )
    place = source.adapter or source.directory
    manifest = read_trained_manifest(place)
    if manifest is None or not has_optimizer(manifest):
        raise UsageError(
            f"{place} was saved without the state of its optimizer. Train it with --save-optimizer, or leave this out "
            "to begin with a new optimizer.",
            option="carry_optimizer",
        )
    saved = manifest.provenance.options.get("optimizer")
    if saved != options.optimizer:
        raise MismatchError(
            f"{place} holds the state of the optimizer {saved}, and this training's is {options.optimizer}. Use "
            f"--optimizer {saved}, or begin with a new optimizer: --no-carry-optimizer."
        )
    identity = fingerprint([manifest.provenance.fingerprint, manifest.model])
    return CarriedOptimizer(place / OPTIMIZER, identity, int(manifest.summary["optimizer_steps"]))


def has_optimizer(manifest: ModelManifest) -> bool:
    """Whether a trained model was saved with its optimizer's state."""
    return any(name.startswith(f"{OPTIMIZER}/") for name in manifest.files)
