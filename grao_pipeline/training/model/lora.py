"""LoRA by peft: the weights of the base model are frozen, small matrices added to its linear layers are trained."""

from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import require
from grao_pipeline.training.options import TrainOptions

ALL_LINEAR = "all-linear"


def add_adapter(model: Any, options: TrainOptions) -> Any:
    """The model with a fresh LoRA adapter. Only the adapter is trained; at first it has no effect.

    Raises:
        UsageError: the model has no layer of a given name, or the layer is the LM head or the embedding.
    """
    peft = require("peft")
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
        layers = sorted({name.rpartition(".")[2] for name, layer in model.named_modules() if hasattr(layer, "weight")})
        raise UsageError(
            f"{type(model).__name__} has no layer {', '.join(options.lora_target)} that LoRA can adapt. Its layers are "
            f"{', '.join(layers)}.",
            option="lora_target",
        ) from error


def _refuse_ends(model: Any, targets: list[str]) -> None:
    ends = {"head": model.get_output_embeddings(), "embedding": model.get_input_embeddings()}
    for what, end in ends.items():
        for name, layer in model.named_modules():
            if layer is end and any(f".{name}".endswith(f".{target}") for target in targets):
                raise UsageError(
                    f"{', '.join(targets)} matches {name}, the {what} of {type(model).__name__}, which cannot be "
                    "adapted here. Name layers between embedding and head.",
                    option="lora_target",
                )
