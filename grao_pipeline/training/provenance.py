"""The identity of a training; free of torch, so that rounds can be planned without it."""

from collections.abc import Sequence
from typing import Any

from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.models.source import ModelSource
from grao_pipeline.plugins import named_source
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.training.carried import carried_optimizer
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.options import TrainOptions


def train_provenance(
    options: TrainOptions,
    groups_fingerprint: str,
    advantages_fingerprint: str,
    source: ModelSource,
    replay: Sequence[tuple[str, str]] = (),
    logprobs: Sequence[tuple[str, str]] = (),
) -> Provenance:
    """The identity of a trained model, known before any training.

    Args:
        replay: fingerprints of further groups and their advantages, in the order in which they are given.
        logprobs: names and fingerprints of log-probs under other models.

    Raises:
        UsageError, MismatchError: the optimizer's state cannot be carried (see `carried_optimizer`).
    """
    inputs: dict[str, Any] = {
        "groups": groups_fingerprint,
        "advantages": advantages_fingerprint,
        "model": source.fingerprint,
        "tokenizer": source.tokenizer,
        "replay": [list(pair) for pair in replay],
    }
    carried = carried_optimizer(source, options)
    if carried is not None:
        inputs["optimizer"] = carried.fingerprint
    if logprobs:
        inputs["logprobs"] = sorted(map(list, logprobs))
    shaping = options.content() | named_source("objective", options.objective, OBJECTIVES)
    details = source.details(options.model)
    return Provenance("model", stage_fingerprint("train", shaping, inputs), shaping, inputs, details)
