"""Tiny models of many families, random but seeded, and transformers' own computation of them in float64."""

import copy
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.models.cohere import modeling_cohere

VOCABULARY = 97
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
# Name → configuration class and what is special. Windows are shorter than the sequences of the tests.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "llama-tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "mistral": ("MistralConfig", {"sliding_window": 7}),
    "gemma2": ("Gemma2Config", {"head_dim": 16, "sliding_window": 6, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 16, "sliding_window": 6, "tie_word_embeddings": True}),
    "phi": ("PhiConfig", {"num_key_value_heads": 4}),
    "gpt-neox": ("GPTNeoXConfig", {}),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        {"head_dim": 16, "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2},
    ),
    "granite": ("GraniteConfig", {"logits_scaling": 3.0}),
    "cohere": ("CohereConfig", {"logit_scale": 0.3}),
    "gpt2": ("GPT2Config", {}),
}
# transformers' sdpa attention leaves out Gemma 2's soft-cap; its grouped matrix product over experts knows no float64.
IMPLEMENTATIONS = {
    "gemma2": {"attn_implementation": "eager"},
    "qwen3-moe": {"experts_implementation": "eager"},
}
OWN_NAMES = {"gpt2": {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}}


def make_model(family: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Any:
    """A model without dropout, every parameter drawn (also biases and norms, which transformers sets to 0 and 1)."""
    config_name, special = FAMILIES[family]
    settings = {OWN_NAMES.get(family, {}).get(name, name): value for name, value in COMMON.items()}
    if family in ("gpt2", "gpt-neox"):
        settings.pop("num_key_value_heads")
    if family == "gpt2":
        settings["n_positions"] = settings.pop("max_position_embeddings")
        settings["n_inner"] = settings.pop("intermediate_size")
        settings |= dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.0)
    config = getattr(transformers, config_name)(**settings | special | changes)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, **IMPLEMENTATIONS.get(family, {}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
            parameter.copy_(parameter + 0.1 * noise if parameter.dim() == 1 else 0.25 * noise)
    return model.eval()


def twin(model: Any) -> Any:
    """The same model once more: a policy changes how its model attends."""
    return copy.deepcopy(model)


def compute_norms_in_float64(model: Any) -> Any:
    """Have norms computed in the model's precision: transformers' RMS norms round to float32 always."""
    for module in model.modules():
        forward = _norm_of(type(module).__name__)
        if forward is not None:
            module.forward = types.MethodType(forward, module)
    return model


def compute_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise for the softmax of eager attention and of the router over experts, and for Cohere's rotation."""
    plain = nn.functional.softmax

    def softmax(values: Tensor, dim: int, dtype: torch.dtype | None = None, **others: Any) -> Tensor:
        return plain(values, dim=dim, dtype=None if values.dtype == torch.float64 else dtype, **others)

    def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        def rotated(x: Tensor) -> Tensor:  # neighbors are a pair
            turned = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
            return x * cos[:, None] + turned * sin[:, None]

        return rotated(q), rotated(k)

    monkeypatch.setattr(nn.functional, "softmax", softmax)
    monkeypatch.setattr(modeling_cohere, "apply_rotary_pos_emb", rotate)


def _norm_of(name: str) -> Callable[[Any, Tensor], Tensor] | None:
    if name.endswith("RMSNorm"):
        return _gemma_rms_norm if name.startswith("Gemma") else _rms_norm
    return _cohere_layer_norm if name == "CohereLayerNorm" else None


def _rms_norm(module: Any, x: Tensor) -> Tensor:
    scaled: Tensor = module.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)
    return scaled


def _gemma_rms_norm(module: Any, x: Tensor) -> Tensor:
    scaled: Tensor = (1 + module.weight) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.eps)
    return scaled


def _cohere_layer_norm(module: Any, x: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled: Tensor = (
        module.weight * centered * torch.rsqrt(centered.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)
    )
    return scaled
