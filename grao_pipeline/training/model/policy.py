"""The model being trained: decoder and head called separately, so that only the tokens of the loss reach the head.

There are two exact ways to the hidden states of a batch: `shared` encodes each prompt once for all its continuations;
`rows` repeats it for every sequence, as other trainers do. The second is the fallback, and the check of the first.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from grao_pipeline.errors import UsageError
from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.model.attention.base import SharedPrefixAttention, attach, make_attention
from grao_pipeline.training.model.decoder import decoder_layers, decoder_of
from grao_pipeline.training.model.lm_head import Buffer, Head, token_logprobs, top_logprobs, weighted_logprob_sum
from grao_pipeline.training.model.logits import LogitTransform, measure_logit_transform
from grao_pipeline.training.model.modes import TrainingModes
from grao_pipeline.training.model.onednn import use_onednn

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel

ROWS = "rows"

Loss = Callable[[Tensor], Tensor]
"""The log-probs of a batch's targets [N] → a loss []."""


class Policy(nn.Module):
    """A causal language model of transformers.

    In training mode, only the dropout of a LoRA adapter is active. The model's own dropout stays off: it would make
    the log-probs of a step differ from those of the policy that sampled, and every importance ratio noise.

    Args:
        attention: name of the kernel for shared prompts, or `rows`.
        transform: what the model does to its logits; measured by default.
    """

    def __init__(
        self,
        model: "PreTrainedModel | PeftModel",
        attention: str,
        transform: LogitTransform | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.attention = attention
        self._is_compiled = False
        self._transform = transform or measure_logit_transform(model)
        self._modes = TrainingModes(model)
        self._own_attention = own_attention(model.config)
        model.set_attn_implementation(self._own_attention)
        self._buffer = Buffer()
        self._kernel: SharedPrefixAttention[Any] | None = None
        if attention != ROWS:
            self._kernel = make_attention(attention)
            attach(model)
        use_onednn(self._decoder())

    @property
    def dropout(self) -> str:
        """The model's own dropout, which is off, e.g. `attn_pdrop 0.1, embd_pdrop 0.1`; empty for a model without."""
        return self._modes.dropout

    def train(self, mode: bool = True, adapter_dropout: bool = True) -> Self:
        """As `nn.Module.train`, but without the model's own dropout.

        Args:
            adapter_dropout: in training mode, whether the dropout of a LoRA adapter is active.
        """
        super().train(False)
        self.training = mode
        self._modes.set(mode, adapter_dropout)
        return self

    @property
    def recomputes(self) -> bool:
        """Whether the layers' activations are recomputed in the backward pass."""
        return self._modes.recomputes

    def recompute(self) -> None:
        """From now on, recompute the layers' activations in the backward pass (gradient checkpointing)."""
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._modes = TrainingModes(self.model)
        self.train(self.training)

    def compile_layers_and_loss(self) -> None:
        """From now on, compile the decoder's layers, for any length, and the loss.

        Checks of the policy come before: their passes would be compiled as well, each in its own way.
        """
        self._is_compiled = True
        if self._kernel is not None:
            attach(self.model, self._is_compiled)
        for layer in self.layers():
            layer.compile(dynamic=True)

    def layers(self) -> list[nn.Module]:
        """The decoder's layers, in order."""
        return decoder_layers(self._decoder())

    def with_own_attention(self, call: Callable[[], Tensor]) -> Tensor:
        """The result of `call`, during which the model uses the attention of transformers."""
        if self._kernel is None:
            return call()
        self.model.set_attn_implementation(self._own_attention)
        try:
            return call()
        finally:
            attach(self.model, self._is_compiled)

    def use_rows(self) -> None:
        """Stop sharing prompts."""
        self.attention, self._kernel = ROWS, None
        self.model.set_attn_implementation(self._own_attention)

    def forward(self, batch: PackedBatch, loss: Loss, is_linear: bool) -> tuple[Tensor, Tensor]:
        """One pass for a loss that is a function of the token log-probs.

        Where the batch has candidates, the loss gets [N, 1 + K]: the log-prob of the target, then those of the
        candidates at its place.

        Args:
            is_linear: the loss is linear in the log-probs, so its gradient does not depend on them.

        Returns:
            the surrogate loss [], whose gradient is that of the loss (its value is not the loss), and the log-probs
            without a graph [N].
        """
        hidden = self.hidden_states(batch)
        head = self.head()
        targets = batch.targets
        if batch.candidates is not None:
            targets = torch.cat([targets[:, None], batch.candidates], dim=1)
        known = targets.new_zeros(targets.shape, dtype=torch.promote_types(hidden.dtype, torch.float32))
        if not is_linear:
            known = token_logprobs(hidden, head, targets, self._buffer)
        leaf = known.requires_grad_()
        with torch.enable_grad(), torch.autocast(hidden.device.type, enabled=False):
            value = loss(leaf)
            slopes = torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros_like(leaf)
        return weighted_logprob_sum(hidden, head, slopes, targets, self._is_compiled, self._buffer)

    def logprobs(self, batch: PackedBatch) -> Tensor:
        """Log-probs of the targets, without a graph. [N]"""
        with torch.no_grad():
            return token_logprobs(self.hidden_states(batch), self.head(), batch.targets, self._buffer)

    def top_logprobs(self, batch: PackedBatch, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probs of the targets [N]; the likeliest tokens at their places and their log-probs [N, count]."""
        with torch.no_grad():
            hidden, head = self.hidden_states(batch), self.head()
            logprobs = token_logprobs(hidden, head, batch.targets, self._buffer)
            return logprobs, *top_logprobs(hidden, head, count, self._buffer)

    def hidden_states(self, batch: PackedBatch) -> Tensor:
        """The hidden state that predicts each target. [N, H]"""
        return _rows(self._decoder(), batch) if self._kernel is None else self._shared(batch)

    def head(self) -> Head:
        """The model's LM head.

        Raises:
            UsageError: the model has no LM head, or one that cannot be trained here.
        """
        layer = self.model.get_output_embeddings()
        if hasattr(layer, "lora_A"):
            raise UsageError(
                "a LoRA adapter of the LM head cannot be trained here. Target other layers.", option="lora_target"
            )
        if layer is None or not hasattr(layer, "weight"):
            raise UsageError(f"{type(self.model).__name__} has no LM head that can be trained here.")
        return Head(layer.weight, getattr(layer, "bias", None), self._transform.scale, self._transform.softcap)

    def _shared(self, batch: PackedBatch) -> Tensor:
        assert self._kernel is not None
        output = self._decoder()(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            shared_prefix=(self._kernel, self._kernel.prepare(batch)),
        )
        states: Tensor = output.last_hidden_state[0]
        return states.index_select(0, batch.predicting)

    def _decoder(self) -> "PreTrainedModel":
        """The model without its head, also inside a peft wrapper."""
        return decoder_of(self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model)


def own_attention(config: "PreTrainedConfig") -> str:
    """The attention with which transformers is exact: its default ignores Gemma 2's soft-cap."""
    softcap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if softcap is not None else str(config._attn_implementation)


def _rows(decoder: "PreTrainedModel", batch: PackedBatch) -> Tensor:
    """The hidden states by one row per sequence, its prompt included, padded on the right."""
    ids, mask, predicting = unshared(batch)
    output = decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    states: Tensor = output.last_hidden_state
    return states.flatten(0, 1).index_select(0, predicting)


def unshared(batch: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """One row per sequence, its prompt included, padded on the right.

    Returns:
        ids [S, T], attention mask [S, T], and the position in [S · T] that predicts each target [N].
    """
    packed = batch.input_ids[0]
    rows: list[Tensor] = []
    prompts: list[int] = []
    for layout in batch.layouts:
        start = layout.continuations.start
        for length in layout.lengths:
            rows.append(torch.cat([packed[layout.prompt], packed[start : start + length]]))
            prompts.append(layout.prompt_length)
            start += length
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=packed.device)
    mask = (torch.arange(ids.shape[1], device=packed.device) < lengths[:, None]).long()
    first = torch.tensor(prompts, device=packed.device)[batch.sequence] - 1
    return ids, mask, batch.sequence * ids.shape[1] + first + batch.offset
