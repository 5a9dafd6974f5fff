"""The attention seam: how the decoder's layers attend over a packed row.

It is registered with transformers as an attention implementation, so no modeling code is forked: the layers pass the
rotated queries, keys and values of the packed row. The layout of a batch is prepared once and reaches the layers
through keyword arguments of the model.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from grao_pipeline.arguments import NoArguments, PluginArguments
from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import load, require
from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.attention import ATTENTIONS

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Layout = TypeVar("Layout")
NAME = "grao_shared_prefix"
CUDA_ONLY = ("varlen", "flex")
"""Kernels that cannot be trained with on another device."""


class SharedPrefixAttention(ABC, Generic[Layout]):
    """One attention kernel. A new kernel is one class in one file and one line in `ATTENTIONS`."""

    Arguments: ClassVar[type[PluginArguments]] = NoArguments

    def __init__(self, arguments: PluginArguments | None = None) -> None:
        self.arguments = self.Arguments() if arguments is None else arguments

    @abstractmethod
    def prepare(self, batch: PackedBatch) -> Layout:
        """What every layer needs to know of the layout of a batch."""

    @abstractmethod
    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Layout,
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Causal attention of every sequence [prompt; continuation].

        Args:
            query: [T, H, D]; key, value: [T, K, D] with K dividing H (grouped-query attention).
            layout: the result of `prepare`.
            scale: of the scores; None for 1/√D.
            window: number of tokens that a token sees, itself included; None for all.
            softcap: scores become softcap · tanh(scores / softcap); None for no cap.

        Returns:
            [T, H, D].
        """


def choose_attention(name: str, device: torch.device, dtype: str) -> str:
    """The kernel that `auto` means on this device and in this precision (flash attention is half precision only).

    Raises:
        UsageError: the kernel that was chosen does not run there.
    """
    if name in CUDA_ONLY and device.type != "cuda":
        raise UsageError(
            f"{name} runs on CUDA only, and this training is on {device.type}. Use split there, or leave it out.",
            option="attention",
        )
    if name == "varlen" and dtype == "float32":
        raise UsageError(
            "varlen computes in half precision only. Add --dtype bfloat16, or choose flex.", option="attention"
        )
    if name != "auto":
        return name
    if device.type != "cuda":
        return "split"
    return "flex" if dtype == "float32" else "varlen"


def make_attention(name: str) -> SharedPrefixAttention[Any]:
    """A kernel by its name.

    Raises:
        UsageError: unknown name.
    """
    attention_class: type[SharedPrefixAttention[Any]] = load("attention", name, ATTENTIONS)
    return attention_class()


def attach(model: "PreTrainedModel | PeftModel", is_compiled: bool = False) -> None:
    """Make the layers of a transformers model attend through `dispatch`.

    Args:
        is_compiled: whether the layers are compiled. They break their graph there: the layout changes with every batch.

    Raises:
        UsageError: the attention of this model cannot be replaced.
    """
    name = f"{NAME}_compiled" if is_compiled else NAME
    # Not as a decorator: torch's compiler takes a second to import.
    function = torch.compiler.disable(dispatch) if is_compiled else dispatch  # type: ignore[no-untyped-call]
    require("transformers").AttentionInterface.register(name, function)
    try:
        model.set_attn_implementation(name)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"The attention of {type(model).__name__} cannot be replaced: {error}.") from error


def dispatch(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    shared_prefix: tuple[SharedPrefixAttention[Any], Any] | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every layer. query: [1, H, T, D]; returns [1, T, H, D].

    Raises:
        UnsupportedAttention: the layer needs a feature that the kernels do not have.
    """
    for feature, setting in {"dropout": dropout, "attention sinks": s_aux}.items():
        if setting is not None and not (isinstance(setting, float) and setting == 0.0):
            raise UnsupportedAttention(f"{type(module).__name__} needs {feature}")
    if shared_prefix is None:
        raise UnsupportedAttention(f"{type(module).__name__} does not pass on the layout of the batch")
    attention, layout = shared_prefix
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return attention.attend(q, k, v, layout, scaling, sliding_window, softcap)[None], None


class UnsupportedAttention(Exception):
    """This model's attention cannot be shared over a prompt here; the trainer falls back to plain rows."""
