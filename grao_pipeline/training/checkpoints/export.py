"""Save the trained weights as a Hugging Face model directory, or as an adapter."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from grao_pipeline.fingerprints import model_fingerprint
from grao_pipeline.models.source import ModelSource, load_config, load_tokenizer, locate_model
from grao_pipeline.models.templates import with_defaults
from grao_pipeline.training.carried import OPTIMIZER
from grao_pipeline.training.checkpoints.companions import rehearse, save_weights, write_companions
from grao_pipeline.training.checkpoints.disk import DiskNeed, check_space, write_errors_as_failure
from grao_pipeline.training.checkpoints.model_directory import write_files
from grao_pipeline.training.checkpoints.optimizer_state import save_optimizer
from grao_pipeline.training.checkpoints.state import whole_weights
from grao_pipeline.training.inputs import TrainingInputs
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.loading import load_whole_model
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.options import TrainOptions

if TYPE_CHECKING:
    from peft import PeftModel
    from torch.distributed.checkpoint.state_dict import ValueType
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def prepare_export(policy: Policy, inputs: TrainingInputs, options: TrainOptions, num_steps: int, out: Path) -> None:
    """Try on rank 0, before the first step, what could otherwise fail after the last one.

    Raises:
        InputError: a file of the trained model cannot be written, or there is no space for it.
        StageFailure: `out` cannot be written.
    """
    source = inputs.source
    check_space(out, disk_need(policy, source, options, num_steps))
    if not options.save_adapter:
        model = policy.model.get_base_model() if options.lora_rank else policy.model
        rehearse(out, model, _tokenizer(inputs), source.directory)


def disk_need(policy: Policy, source: ModelSource, options: TrainOptions, num_steps: int) -> DiskNeed:
    """What a training writes at most."""
    return DiskNeed.of(policy, options, _save_dtype(source, options).itemsize, num_steps)


def export(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    inputs: TrainingInputs,
    options: TrainOptions,
    ranks: Ranks,
    directory: Path,
    summary: dict[str, object],
    saved: str,
) -> str:
    """Save the trained weights with the tokenizer and the chat template that the groups were sampled with.

    A collective where the policy is sharded: its shards are gathered on rank 0, which writes.

    Args:
        saved: a sentence on the steps that are saved, should the disk be full.

    Returns:
        the fingerprint of the model.

    Raises:
        StageFailure: the disk is full.
    """
    source, provenance = inputs.source, inputs.provenance
    remedy = f"{saved} Free space and run the same command to resume."
    weights = whole_weights(policy) if ranks.is_sharded else None
    folder = directory / f".{OPTIMIZER}.tmp" if options.save_optimizer else None
    if folder is not None:
        is_rounded = not options.save_adapter and _save_dtype(source, options) != torch.float32
        with write_errors_as_failure(folder, remedy):
            save_optimizer(folder, policy, optimizer, ranks, with_weights=is_rounded)

    def save(place: str) -> None:
        model = _whole(policy, source, options, weights)
        if options.save_adapter:
            model.save_pretrained(place)
            (Path(place) / "README.md").unlink(missing_ok=True)  # peft's empty model card
            return
        if options.lora_rank:
            model = model.merge_and_unload()
        model.to(_save_dtype(source, options))
        save_weights(place, model)
        write_companions(Path(place), model, _tokenizer(inputs), source.directory)

    def identity(out: Path) -> str:
        """Of an adapter that of the policy of `grao generate --model BASE --adapter OUT`."""
        if options.save_adapter:
            return locate_model(str(source.directory), str(out)).fingerprint
        return model_fingerprint(out)

    def write() -> str:
        with write_errors_as_failure(directory, remedy):
            return write_files(directory, save, provenance, lambda: summary, folder, identity).model

    return ranks.from_first(write)


def _tokenizer(inputs: TrainingInputs) -> "PreTrainedTokenizerBase":
    tokenizer = load_tokenizer(inputs.source)
    details = inputs.groups.provenance.details
    if template := details.get("chat_template"):
        tokenizer.chat_template = with_defaults(template, details.get("template_arguments") or {})
    return tokenizer


def _save_dtype(source: ModelSource, options: TrainOptions) -> torch.dtype:
    dtype = load_config(source).dtype if options.save_dtype == "auto" else getattr(torch, options.save_dtype)
    return dtype or torch.float32


def _whole(
    policy: Policy, source: ModelSource, options: TrainOptions, weights: "dict[str, ValueType] | None"
) -> "PreTrainedModel | PeftModel":
    """The transformers (or peft) model with all trained weights."""
    if weights is None and not options.load_in_4bit:
        return policy.model
    if weights is None:  # An adapter is merged into the full-precision weights, not into their 4 bits.
        weights = {name: value.cpu() for name, value in policy.model.state_dict().items() if "lora_" in name}
    model = load_whole_model(source, options)
    model.load_state_dict(weights, strict=not options.load_in_4bit)
    return model
