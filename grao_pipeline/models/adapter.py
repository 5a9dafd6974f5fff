"""A LoRA adapter of peft on top of a base model: does it fit, and load it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors

from grao_pipeline.errors import InputError
from grao_pipeline.models.source import causal_lm_class, errors_of_libraries, first_line, load_config, locate_files
from grao_pipeline.plugins import require

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

SHOWN = 2
"""Names of weights in a message."""


def check_adapter(model: str, adapter: str) -> None:
    """Hold an adapter's weights against its base model, by names and shapes, before any weights are loaded.

    Args:
        model, adapter: directories.

    Raises:
        InputError: the adapter belongs to another base model, or it is not one that a forward pass can apply.
    """
    config = adapter_config(adapter)
    if config.is_prompt_learning:
        raise InputError(
            f"{adapter} is not a LoRA adapter but one of type {config.peft_type.value}, which adds virtual tokens to "
            "the prompt. Only adapters of the weights can be sampled."
        )
    made_for = f"{adapter} does not fit {model}; it was made for {config.base_model_name_or_path or 'another model'}"
    try:
        needed = _shapes_of(model, config)
    except ValueError as error:  # peft's message on target modules; it names them
        raise InputError(f"{made_for}: {first_line(error)}") from error
    if needed is None:
        return
    stored = _stored_shapes(Path(adapter) / "adapter_model.safetensors")
    problem = _mismatch(stored, needed)
    if problem is not None:
        raise InputError(f"{made_for}: {problem}.")


def adapter_config(adapter: str) -> "PeftConfig":
    """How an adapter was made.

    Raises:
        InputError: peft cannot read its adapter_config.json.
    """
    peft = require("peft")
    with errors_of_libraries(Path(adapter), f"Cannot load {adapter}/adapter_config.json"):
        config: PeftConfig = peft.PeftConfig.from_pretrained(adapter)
    return config


def load_adapter(model: "PreTrainedModel", adapter: str, **settings: object) -> "PeftModel":
    """The peft model of a base model and an adapter.

    Args:
        settings: further arguments of peft, e.g. `is_trainable=True`.

    Raises:
        InputError: they do not fit together.
    """
    peft = require("peft")
    with errors_of_libraries(Path(adapter), f"The adapter {adapter} cannot be loaded"):
        adapted: PeftModel = peft.PeftModel.from_pretrained(model, adapter, **settings)
    return adapted


def _shapes_of(model: str, config: "PeftConfig") -> dict[str, tuple[int, ...]] | None:
    """Name → shape of the weights that an adapter with this config has on this model; None where that is unknown.

    Raises:
        ValueError: the model lacks the layers that the config names.
    """
    torch, peft = require("torch"), require("peft")
    config.init_lora_weights = False  # the other ways compute with the base's weights, which are not there
    config.inference_mode = False
    config.base_model_name_or_path = model
    try:
        model_config = load_config(locate_files(model))
        with torch.device("meta"):
            base = causal_lm_class(model_config, model).from_config(model_config)
    except Exception:  # an architecture that transformers does not know; the engine may
        return None
    try:
        adapted = peft.get_peft_model(base, config)
        state = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    except ValueError:
        raise
    except Exception:  # a kind of adapter that cannot be made without weights: loading it will tell
        return None
    return {name: tuple(value.shape) for name, value in state.items()}


def _stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error


def _mismatch(stored: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]) -> str | None:
    """The first difference between what an adapter holds and what it needs on this model."""
    unknown = sorted(name for name in stored if name not in needed and ".lora_" in name)
    if unknown:
        return f"it holds weights for layers that the model does not have ({', '.join(unknown[:SHOWN])})"
    missing = sorted(name for name in needed if name not in stored)
    if missing:
        return f"it lacks weights for layers of the model ({', '.join(missing[:SHOWN])})"
    for name, shape in needed.items():
        if stored[name] != shape:
            return f"{name} has the shape {list(stored[name])}, and this model needs {list(shape)}"
    return None
