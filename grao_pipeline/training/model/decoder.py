"""The decoder of a causal language model: the module that turns token IDs into the hidden states of the LM head."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYER_LISTS = ("layers", "h", "blocks")
"""Names of the list of layers: most families; GPT-2, GPT-J, Falcon, BLOOM; MPT."""


def decoder_of(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model without its head, which `get_decoder` of transformers does not cut off everywhere (Llama 4)."""
    decoder = model.get_decoder()
    while _has_head(decoder):
        inner = decoder.base_model if decoder.base_model is not decoder else getattr(decoder, "model", decoder)
        if inner is decoder:
            break
        decoder = inner
    return decoder


def decoder_layers(decoder: nn.Module) -> list[nn.Module]:
    """The layers of a decoder, in order."""
    lists = {name: child for name, child in decoder.named_children() if isinstance(child, nn.ModuleList)}
    usual = [lists[name] for name in LAYER_LISTS if name in lists]
    return list(usual[0]) if usual else max((list(layers) for layers in lists.values()), key=len, default=[])


def _has_head(module: "PreTrainedModel") -> bool:
    return hasattr(module, "get_output_embeddings") and module.get_output_embeddings() is not None
