"""LoRA through peft: the base model stays as it is, small matrices beside its linear layers are trained."""

from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import require
from grao_pipeline.training.options import TrainOptions

ALL_LINEAR = "all-linear"


def add_adapter(model: Any, options: TrainOptions) -> Any:
    """The model with a fresh LoRA adapter, which alone is trained; at first it changes nothing.

    Raises:
        UsageError: the model has no layer of a name given, or it is the head, whose log-probs are taken apart here.
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
    except ValueError as error:  # peft's own text advises on its Python interface
        layers = sorted({name.rpartition(".")[2] for name, layer in model.named_modules() if hasattr(layer, "weight")})
        raise UsageError(
            f"--lora-target {', '.join(options.lora_target)}: {type(model).__name__} has no such layer that LoRA "
            f"knows. Its layers are {', '.join(layers)}."
        ) from error


def _refuse_ends(model: Any, targets: list[str]) -> None:
    ends = {"head": model.get_output_embeddings(), "embedding": model.get_input_embeddings()}
    for what, end in ends.items():
        for name, layer in model.named_modules():
            if layer is end and any(f".{name}".endswith(f".{target}") for target in targets):
                raise UsageError(
                    f"--lora-target {', '.join(targets)} takes in {name}, the {what} of {type(model).__name__}, which "
                    "cannot be adapted here. Name layers between embedding and head."
                )
