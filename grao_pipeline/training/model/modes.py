"""Which modules of a policy are in training mode: the dropout of an adapter, and layers that are recomputed."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel


class TrainingModes:
    """The modules of a transformers (or peft) model that training needs in training mode.

    These are the dropout of a LoRA adapter, which the user chose, and the modules with gradient checkpointing, which
    recompute in training mode only; the dropout that those read from attributes of theirs is set to 0.

    Attributes:
        dropout: the model's own dropout, which is never active, for people; empty for a model without dropout.
    """

    def __init__(self, model: "PreTrainedModel | PeftModel") -> None:
        self.dropout = _own_dropout(model.config.get_text_config())
        self._adapter_dropouts = [
            layer
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Dropout) and "lora_dropout" in name.split(".")
        ]
        self._recomputed = [layer for layer in model.modules() if getattr(layer, "gradient_checkpointing", False)]
        for layer in self._recomputed:
            for name, value in list(vars(layer).items()):
                if _is_dropout(name, value):
                    setattr(layer, name, 0.0)

    @property
    def recomputes(self) -> bool:
        """Whether there are modules with gradient checkpointing."""
        return bool(self._recomputed)

    def set(self, training: bool, adapter_dropout: bool) -> None:
        """Set the mode of these modules; all others stay in evaluation mode."""
        for layer in self._adapter_dropouts:
            layer.training = training and adapter_dropout
        for layer in self._recomputed:
            layer.training = training


def _own_dropout(config: "PreTrainedConfig") -> str:
    rates = {name: value for name, value in config.to_dict().items() if _is_dropout(name, value)}
    return ", ".join(f"{name} {value:g}" for name, value in sorted(rates.items()) if value > 0)


def _is_dropout(name: str, value: object) -> bool:
    return isinstance(value, float) and ("drop" in name or "jitter" in name or name.endswith("noise"))
