"""The identity of a training; free of torch, so that a plan can be made without it."""

from grao_pipeline.config import TrainOptions
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.models import ModelSource
from grao_pipeline.plugins import named_source
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.training.objectives import OBJECTIVES


def train_provenance(
    options: TrainOptions, groups_fingerprint: str, advantages_fingerprint: str, source: ModelSource
) -> Provenance:
    """The identity of a trained model, known before any training."""
    inputs = {
        "groups": groups_fingerprint,
        "advantages": advantages_fingerprint,
        "model": source.fingerprint,
        "tokenizer": source.tokenizer,
    }
    shaping = options.content() | named_source("objective", options.objective, OBJECTIVES)
    return Provenance("model", stage_fingerprint("train", shaping, inputs), shaping, inputs)
