"""Families with a peculiarity, by their configs: in training mode the log-probs are the model's."""

from typing import Any

import pytest
import torch
import transformers

from grao_pipeline.progress import SILENT
from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.model.flops import FlopCounter
from grao_pipeline.training.model.logits import LogitTransform, measure_logit_transform
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.model.self_check import check_policy
from tests.training.families import COMMON
from tests.training.steps import sequence

SEQUENCES = [
    sequence([5, 6, 7, 8, 9], [10, 11, 12]),
    sequence([5, 6, 7, 8, 9], [13, 14, 15, 16, 17]),
    sequence([30, 31], [32, 33, 34, 35]),
]
OWN = {"vocab_size": 97, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "dropout, names that no other has": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "layerdrop": (
        "OPTConfig",
        {"ffn_dim": 48, "word_embed_proj_dim": 32, "layerdrop": 0.5},
    ),
    "jitter of the router": (
        "PhimoeConfig",
        {"num_local_experts": 4, "router_jitter_noise": 0.3, "input_jitter_noise": 0.3},
    ),
    "get_decoder with its head": (
        "Llama4TextConfig",
        {"head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 48, "attention_chunk_size": 4},
    ),
    "head_dim of layers": (
        "Gemma4TextConfig",
        {"head_dim": 16, "sliding_window": 4, "vocab_size_per_layer_input": 97, "hidden_size_per_layer_input": 8},
    ),
    "linear output changed in place": (
        "Gemma3nTextConfig",
        {
            "head_dim": 16,
            "sliding_window": 4,
            "vocab_size_per_layer_input": 97,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
            "laurel_rank": 8,
            "altup_num_inputs": 2,
            "intermediate_size": [48, 48],
            "layer_types": ["sliding_attention", "full_attention"],
            "activation_sparsity_pattern": [0.0, 0.0],
        },
    ),
    "logits_scaling multiplies": ("HyperCLOVAXConfig", {"logits_scaling": 0.25}),
    "a state": ("MambaConfig", {"state_size": 8}),
}


def make(family: str) -> Any:
    config_class, special = FAMILIES[family]
    common = OWN if "n_embd" in special else COMMON
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(getattr(transformers, config_class)(**common | special)).eval()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_in_training_are_those_of_the_model(family: str, recompute: bool) -> None:
    model = make(family)
    batch = pack(SEQUENCES)
    expected = []
    for each in SEQUENCES:
        ids = torch.tensor([each.prompt_token_ids + each.token_ids])
        with torch.no_grad():
            logprobs = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        expected.append(logprobs.gather(-1, ids[0, 1:, None])[len(each.prompt_token_ids) - 1 :, 0])
    assert FlopCounter.of(model, has_adapter=False).decoder_weights > 0
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(model, "split")
    assert len(policy.layers()) == 2
    policy.train()
    check_policy(policy, SEQUENCES, SILENT, forced=False)
    loss, logprobs = policy(batch, lambda logprobs: -logprobs.mean(), is_linear=True)
    torch.testing.assert_close(logprobs, torch.cat(expected), rtol=0, atol=1e-4)
    loss.backward()
    assert any(
        bool(parameter.grad.any()) for parameter in policy.layers()[0].parameters() if parameter.grad is not None
    )


@pytest.mark.parametrize(
    ("config_class", "changes", "expected"),
    [
        ("LlamaConfig", {}, LogitTransform()),
        ("GraniteConfig", {"logits_scaling": 3.0}, LogitTransform(1 / 3)),
        ("HyperCLOVAXConfig", {"logits_scaling": 0.25}, LogitTransform(0.25)),
        ("CohereConfig", {"logit_scale": 0.0625}, LogitTransform(0.0625)),
        ("Gemma2Config", {"head_dim": 16, "final_logit_softcapping": 30.0}, LogitTransform(1.0, 30.0)),
    ],
)
def test_what_a_model_does_to_its_logits_is_measured(
    config_class: str, changes: dict[str, Any], expected: LogitTransform
) -> None:
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config_class)(**COMMON | changes))
    measured = measure_logit_transform(model)
    assert measured.scale == pytest.approx(expected.scale, rel=1e-12)
    assert measured.softcap == expected.softcap
    assert "forward" not in vars(model.get_output_embeddings())
