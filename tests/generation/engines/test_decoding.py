"""Whatever a model remembers of a sequence, samples have the log-probs of a forward pass over all of it."""

import logging
from typing import Any

import pytest
import torch
import transformers

from grao_pipeline.errors import InputError
from grao_pipeline.generation.engines.base import Request, Sampling
from grao_pipeline.generation.engines.decoding import choose_decoding
from grao_pipeline.generation.engines.transformers import sample_batch
from tests.training.families import COMMON

MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 4}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
# Class of the config, what is special, and the way in which it is sampled.
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "keys and values": ("MistralConfig", {"sliding_window": 6}, "CachedDecoding"),
    "linear attention": (
        "Qwen3_5TextConfig",
        {"head_dim": 8, "layer_types": ["linear_attention", "full_attention"], **LINEAR},
        "RecurrentDecoding",
    ),
    "convolutions": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}, "RecurrentDecoding"),
    "state and keys in one layer": (
        "FalconH1Config",
        {"head_dim": 8, "mamba_d_ssm": 64, "lm_head_multiplier": 0.3, **MAMBA},
        "RecurrentDecoding",
    ),
    "a state alone": ("MambaConfig", {"state_size": 8}, "RecurrentDecoding"),
    "another kind of cache": (
        "MiniMaxConfig",
        {"layer_types": ["linear_attention", "full_attention"], "block_size": 4, "num_local_experts": 2},
        "UncachedDecoding",
    ),
    "a state in the model": (
        "RecurrentGemmaConfig",
        {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8, "num_key_value_heads": 1},
        "UncachedDecoding",
    ),
}
CPU = torch.device("cpu")


def make(config_class: str, **special: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**COMMON | special)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_have_the_logprobs_of_a_whole_forward_pass(family: str) -> None:
    """Of unequal budgets: rows leave the batch at different steps."""
    config_class, special, way = FAMILIES[family]
    model = make(config_class, **special)
    decoding = choose_decoding(model, CPU, 128)
    assert type(decoding).__name__ == way
    lengths = (9, 9) if decoding.needs_equal_lengths else (9, 4)
    prompts = [[5 + (7 * i + length) % 90 for i in range(length)] for length in lengths]
    requests = [
        Request((0, i), prompt, 2, i, budget) for i, (prompt, budget) in enumerate(zip(prompts, (3, 12), strict=True))
    ]
    groups = sample_batch(decoding, CPU, requests, Sampling(1.0, 1.0, 12, (2,)))
    for group, request in zip(groups, requests, strict=True):
        for sample in group.samples:
            ids = torch.tensor([request.prompt_token_ids + sample.token_ids])
            with torch.no_grad():
                logprobs = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
            expected = logprobs.gather(-1, ids[0, 1:, None])[len(request.prompt_token_ids) - 1 :, 0]
            torch.testing.assert_close(torch.tensor(sample.logprobs), expected, rtol=0, atol=1e-4)


def test_a_model_that_looks_ahead_is_refused() -> None:
    with pytest.raises(InputError, match="The transformers engine cannot sample from BertLMHeadModel: its log-probs"):
        choose_decoding(make("BertConfig", is_decoder=False), CPU, 128)


def test_a_model_that_cannot_be_cached_is_sampled_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forward forgets the cache that it is given."""
    model = make("LlamaConfig")
    forward = model.forward

    def forgetful(input_ids: Any, past_key_values: Any = None, **others: Any) -> Any:
        return forward(input_ids=input_ids, **others)

    model.forward = forgetful
    warnings: list[str] = []
    logger = logging.getLogger("grao_pipeline.generation.engines.decoding")
    monkeypatch.setattr(logger, "warning", lambda message, *values: warnings.append(message % values))
    assert type(choose_decoding(model, CPU, 128)).__name__ == "UncachedDecoding"
    [warning] = warnings
    assert "LlamaForCausalLM is sampled without a cache, hence slowly" in warning
