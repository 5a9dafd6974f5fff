"""From a model directory to a policy on its device: weights, adapter, and shards over the ranks."""

from typing import TYPE_CHECKING

import torch

from grao_pipeline.errors import InputError, StageFailure, UsageError
from grao_pipeline.models.adapter import check_adapter
from grao_pipeline.models.source import ModelSource, causal_lm_class, load_causal_lm, load_config
from grao_pipeline.plugins import require
from grao_pipeline.training.model.attention.base import choose_attention
from grao_pipeline.training.model.distributed import Ranks, send_weights, shard
from grao_pipeline.training.model.flops import FlopCounter
from grao_pipeline.training.model.logits import measure_logit_transform
from grao_pipeline.training.model.lora import add_adapter
from grao_pipeline.training.model.memory import out_of_memory_is
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.options import TrainOptions

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def load_policy(source: ModelSource, options: TrainOptions, ranks: Ranks) -> tuple[Policy, FlopCounter]:
    """The policy on this rank's device, ready to be trained, and its FLOP counter. A collective where it is sharded.

    Raises:
        InputError: the weights cannot be read.
        StageFailure: they do not fit in memory.
        UsageError: an option does not work for this model or on this device.
    """
    failure = StageFailure(
        f"Out of memory while the weights of {source.directory} were loaded to {ranks.device}. To make them fit: "
        "shard them over several GPUs (torchrun), use --cpu-offload, or --load-in-4bit with --lora-rank 16."
    )
    with out_of_memory_is(lambda: failure):
        return _load_policy(source, options, ranks)


def _load_policy(source: ModelSource, options: TrainOptions, ranks: Ranks) -> tuple[Policy, FlopCounter]:
    _refuse_quantized(source)
    attention = choose_attention(options.attention, ranks.device, options.dtype)
    adapter = source.adapter
    if adapter is not None:
        ranks.on_first(lambda: check_adapter(str(source.directory), str(adapter)))
    model = _base_model(source, options, ranks)
    flops = FlopCounter.of(model, has_adapter=options.lora_rank > 0)
    if options.lora_rank:
        model = add_adapter(model, options, source.adapter)
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # Only rank 0 has weights so far.
    transform = ranks.from_first(lambda: measure_logit_transform(model))
    policy = Policy(model, attention, transform)
    policy.train()
    if not ranks.is_sharded:
        return policy.to(ranks.device), flops
    whole = dict(policy.state_dict())
    shard(policy, policy.layers(), ranks, options)
    send_weights(policy, whole, ranks)
    return policy, flops


def load_whole_model(source: ModelSource, options: TrainOptions) -> "PreTrainedModel | PeftModel":
    """The model on CPU, with an adapter where one is trained: the form in which it is saved."""
    model = load_causal_lm(source.directory, _dtype(source, options))
    return add_adapter(model, options, source.adapter) if options.lora_rank else model


def _base_model(source: ModelSource, options: TrainOptions, ranks: Ranks) -> "PreTrainedModel":
    if options.load_in_4bit:
        return _load_in_4bit(source, options, ranks)
    if ranks.size == 1:
        return load_causal_lm(source.directory, _dtype(source, options))
    model = ranks.on_first(lambda: load_causal_lm(source.directory, _dtype(source, options)))
    return _empty_model(source, options) if model is None else model


def _refuse_quantized(source: ModelSource) -> None:
    """Raises InputError where the checkpoint's weights are quantized: they have no gradient, and could not be saved."""
    settings = getattr(load_config(source), "quantization_config", None)
    if settings:
        method = settings.get("quant_method") if isinstance(settings, dict) else settings.quant_method
        raise InputError(
            f"The weights in {source.directory} are quantized ({getattr(method, 'value', method)}) and cannot be "
            "trained. Train the unquantized model; --load-in-4bit with --lora-rank 16 makes it small in memory."
        )


def _dtype(source: ModelSource, options: TrainOptions) -> torch.dtype:
    """float32 for trained weights, since lower precision would lose small updates; frozen weights may be bfloat16."""
    stored = load_config(source).dtype
    is_frozen_half = options.lora_rank and options.dtype == "bfloat16" and stored == torch.bfloat16
    return torch.bfloat16 if is_frozen_half else torch.float32


def _empty_model(source: ModelSource, options: TrainOptions) -> "PreTrainedModel":
    """The model with uninitialized weights: memory that is allocated and never touched costs nothing."""
    no_init_weights = require("transformers.initialization").no_init_weights
    config = load_config(source)
    model_class = causal_lm_class(config, source.directory)
    with no_init_weights():
        model = model_class.from_config(config, dtype=_dtype(source, options))
    model.tie_weights()
    return model


def _load_in_4bit(source: ModelSource, options: TrainOptions, ranks: Ranks) -> "PreTrainedModel":
    if ranks.is_sharded:
        raise UsageError(
            "a 4-bit training runs on one device. Leave out torchrun and --cpu-offload.", option="load_in_4bit"
        )
    if options.dtype != "bfloat16":
        raise UsageError("a 4-bit training computes in bfloat16. Add --dtype bfloat16.", option="load_in_4bit")
    require("bitsandbytes")
    transformers = require("transformers")
    settings = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = causal_lm_class(load_config(source), source.directory).from_pretrained(
        str(source.directory),
        quantization_config=settings,
        dtype=torch.bfloat16,
        device_map={"": ranks.device},
        trust_remote_code=False,
        use_safetensors=True,
    )
    for layer in model.modules():
        # On CPU an evaluation, such as the self-check, would repack the weights into a form that cannot be trained.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model
