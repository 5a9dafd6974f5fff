"""The identity of a table of log-probs; free of torch, so that rounds can be planned without it."""

from collections.abc import Callable, Sequence

from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.models.source import ModelSource, locate_model
from grao_pipeline.options import StageOptions
from grao_pipeline.parsing import key_values
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.training.logprobs.options import LogprobsOptions


def logprobs_provenance(options: LogprobsOptions, groups_fingerprint: str, source: ModelSource) -> Provenance:
    """What the table will be, before anything is computed."""
    inputs = {"groups": groups_fingerprint, "model": source.fingerprint}
    shaping = options.content()
    return Provenance("logprobs", stage_fingerprint("logprobs", shaping, inputs), shaping, inputs)


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    assert isinstance(options, LogprobsOptions)
    return logprobs_provenance(
        options, provenance_of(inputs[0]).fingerprint, locate_model(options.model, only_identity=True)
    )


def logprobs_urls(entries: Sequence[str]) -> list[tuple[str, str]]:
    """`["ref=runs/ref"]` → `[("ref", "runs/ref")]`. A name may have several tables, of different groups.

    Raises:
        UsageError: one is not NAME=TABLE, or the name is that of the policy that sampled.
    """
    pairs = [next(iter(key_values([entry], "logprobs").items())) for entry in entries]
    if any(name == "behavior" for name, _ in pairs):
        raise UsageError("'behavior' is the name of the policy that sampled; choose another one.", option="logprobs")
    return pairs


def devices(options: StageOptions) -> int:
    """GPUs that it uses."""
    assert isinstance(options, LogprobsOptions)
    return 1 if options.device != "cpu" else 0
