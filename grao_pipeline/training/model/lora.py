"""LoRA by peft: the weights of the base model are frozen, small matrices added to its linear layers are trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.models.adapter import adapter_config, load_adapter
from grao_pipeline.plugins import require
from grao_pipeline.training.options import TrainOptions

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"


def add_adapter(model: "PreTrainedModel", options: TrainOptions, adapter: Path | None = None) -> "PeftModel":
    """The model with a LoRA adapter, which alone is trained: a fresh one, which has no effect at first, or the one in
    a directory.

    Raises:
        UsageError: the model has no layer of a given name, or the layer is the LM head or the embedding; the adapter in
            the directory is not the one that the options describe.
        InputError: the adapter does not fit the model.
    """
    peft = require("peft")
    if adapter is not None:
        return _load(model, options, adapter)
    _refuse_ends(model, options.lora_target)
    targets: Any = options.lora_target
    if not targets or targets == [ALL_LINEAR]:
        targets = ALL_LINEAR
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=targets,
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:  # peft's message is about its Python interface.
        outer = (model.get_input_embeddings(), model.get_output_embeddings())
        inner = [(name, layer) for name, layer in model.named_modules() if layer not in outer]
        matrices = [name for name, layer in inner if getattr(getattr(layer, "weight", None), "ndim", 0) > 1]
        layers = sorted({name.rpartition(".")[2] for name in matrices})
        raise UsageError(
            f"{type(model).__name__} has no layer {', '.join(options.lora_target)} that LoRA can adapt. Those are "
            f"{', '.join(layers)}.",
            option="lora_target",
        ) from error


def _load(model: "PreTrainedModel", options: TrainOptions, adapter: Path) -> "PeftModel":
    config: Any = adapter_config(str(adapter))
    numbers = (config.r, config.lora_alpha) if config.peft_type == "LORA" else ()
    if not numbers or not all(isinstance(number, int | float) for number in numbers):
        raise InputError(f"{adapter}/adapter_config.json is not that of a LoRA adapter with a rank and an alpha.")
    for name, saved in (("lora_rank", config.r), ("lora_alpha", config.lora_alpha)):
        given = getattr(options, name)
        if saved != given:
            raise UsageError(f"{adapter} was made with {saved:g}, found {given:g}.", option=name)
    saved = config.target_modules  # a list, in full for all linear layers; or a pattern
    layers = {saved} if isinstance(saved, str) else {str(name).rpartition(".")[2] for name in saved or ()}
    targets = set(options.lora_target) - {ALL_LINEAR}
    if targets and targets != layers:
        message = f"{adapter} adapts {', '.join(sorted(layers))}, found {', '.join(sorted(targets))}."
        raise UsageError(message, option="lora_target")
    config.lora_dropout = options.lora_dropout
    return load_adapter(model, str(adapter), is_trainable=True, config=config)


def _refuse_ends(model: "PreTrainedModel", targets: list[str]) -> None:
    ends = {"head": model.get_output_embeddings(), "embedding": model.get_input_embeddings()}
    for what, end in ends.items():
        for name, layer in model.named_modules():
            if layer is end and any(f".{name}".endswith(f".{target}") for target in targets):
                raise UsageError(
                    f"{', '.join(targets)} matches {name}, the {what} of {type(model).__name__}, which cannot be "
                    "adapted here. Name layers between embedding and head.",
                    option="lora_target",
                )
