"""The attention seam: how the decoder's layers attend over a packed row.

Registered with transformers as an attention implementation, so no modeling code is forked: the layers hand over the
rotated queries, keys and values of the packed row. What the layout needs is prepared once per batch and passes through
the model's keyword arguments.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import load, require
from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.attention import ATTENTIONS

NAME = "grao_shared_prefix"


class SharedPrefixAttention(Protocol):
    """One kernel. A new one is one class in one file and one line in `ATTENTIONS`."""

    def prepare(self, batch: PackedBatch) -> Any:
        """What every layer needs of a batch's layout."""
        ...

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Any,
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Causal attention of every sequence [prompt; continuation].

        Args:
            query: [T, H, D]; key, value: [T, K, D] with K dividing H (grouped-query attention).
            layout: what `prepare` made.
            scale: of the scores; 1/√D where None.
            window: a token sees so many tokens, itself included; all where None.
            softcap: scores become softcap · tanh(scores / softcap); None for none.

        Returns:
            [T, H, D].
        """
        ...


def choose_attention(name: str, device: torch.device, dtype: str) -> str:
    """What `auto` stands for on this device, training in this precision (flash attention has half precision alone)."""
    if name != "auto":
        return name
    if device.type != "cuda":
        return "split"
    return "flex" if dtype == "float32" else "varlen"


def make_attention(name: str) -> SharedPrefixAttention:
    """A kernel by its name.

    Raises:
        UsageError: there is none of that name.
    """
    made: SharedPrefixAttention = load("attention", name, ATTENTIONS)()
    return made


def attach(model: Any) -> None:
    """Have a transformers model attend through `dispatch`.

    Raises:
        UsageError: the model does not let its attention be chosen.
    """
    require("transformers").AttentionInterface.register(NAME, dispatch)
    try:
        model.set_attn_implementation(NAME)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{type(model).__name__} does not take another attention: {error}") from error


# Compiled layers stop here: the layout changes with every batch.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def dispatch(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    shared_prefix: tuple[SharedPrefixAttention, Any] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer. query: [1, H, T, D]; returns [1, T, H, D].

    Raises:
        UnsupportedAttention: the layer wants something that the kernels do not have.
    """
    for what, wanted in {"dropout": dropout, "attention sinks": s_aux}.items():
        if wanted is not None and not (isinstance(wanted, float) and wanted == 0.0):
            raise UnsupportedAttention(f"{type(module).__name__} wants {what}")
    if shared_prefix is None:
        raise UnsupportedAttention(f"{type(module).__name__} is not handed the layout of the batch")
    attention, layout = shared_prefix
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return attention.attend(q, k, v, layout, scaling, sliding_window, softcap)[None], None


class UnsupportedAttention(Exception):
    """This model's attention cannot be shared over a prompt here; the trainer falls back to plain rows."""
