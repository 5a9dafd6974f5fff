"""Token log-probs of a padded batch are transformers' own, row by row."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from grao_pipeline.training.batch import make_batch, token_logprobs
from grao_pipeline.training.data import TrainingSequence
from tests.training import oracle
from tests.training.oracle import backward

VOCABULARY = 50
CPU = torch.device("cpu")


def sequence(prompt: list[int], ids: list[int]) -> TrainingSequence:
    return TrainingSequence(prompt, ids, 1.0, False, 1, 1.0, False, None, None)


# Prompts of 1, 3 and 9 tokens, continuations of 1, 6 and 4: padding on both sides of most rows.
SEQUENCES = [
    sequence([3], [4, 5, 6, 7, 8, 9]),
    sequence([10, 11, 12], [13]),
    sequence([1, 2, 3, 4, 5, 6, 7, 8, 9], [20, 21, 22, 2]),
    sequence([49], [48]),
]


def _qwen2(attention: str) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
            attn_implementation=attention,
        )
    )


def _gpt2() -> Any:
    """Learned absolute positions: they must begin at the first token, not at the padding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=64,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def _gemma2() -> Any:
    """Soft-capped logits and sliding windows shorter than the sequences."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            sliding_window=4,
            final_logit_softcapping=3.0,
            initializer_range=0.3,
        )
    )


# Model, precision and tolerance. Of these, transformers computes only GPT-2 wholly in float64; RMS norms are float32
# always, and eager attention's mask needs a float32 model.
ARCHITECTURES: dict[str, tuple[Callable[[], Any], torch.dtype, float]] = {
    "gpt2": (_gpt2, torch.float64, 1e-12),
    "qwen2-sdpa": (lambda: _qwen2("sdpa"), torch.float64, 1e-6),
    "qwen2-eager": (lambda: _qwen2("eager"), torch.float32, 1e-5),
    "gemma2": (_gemma2, torch.float32, 1e-5),
}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> tuple[Any, float]:
    torch.manual_seed(0)
    make, dtype, tolerance = ARCHITECTURES[request.param]
    return make().to(dtype).eval(), tolerance


def test_padded_log_probs_are_transformers_own_row_by_row(architecture: tuple[Any, float]) -> None:
    model, tolerance = architecture
    batch = make_batch(SEQUENCES, CPU)
    found = token_logprobs(model, batch)
    assert found.shape == (4, 6)
    for row, each in enumerate(SEQUENCES):
        expected = oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids)
        torch.testing.assert_close(found[row, : len(each.token_ids)], expected, rtol=tolerance, atol=tolerance)
        assert torch.all(found[row, len(each.token_ids) :] == 0)


def test_padding_sends_no_gradient_and_no_nan(architecture: tuple[Any, float]) -> None:
    model, tolerance = architecture
    backward(token_logprobs(model, make_batch(SEQUENCES, CPU)).sum())
    padded = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for each in SEQUENCES:
        backward(oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids).sum())
    for parameter, found in zip(model.parameters(), padded, strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=tolerance, atol=tolerance)


def test_a_model_that_returns_all_logits_is_read_at_the_right_positions() -> None:
    """Some architectures swallow `logits_to_keep`; their first columns are not the continuation's."""
    torch.manual_seed(0)
    model = _qwen2("sdpa").double().eval()

    class ReturnsAll(torch.nn.Module):
        def forward(self, logits_to_keep: int, **inputs: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=model(**inputs).logits)

    batch = make_batch(SEQUENCES, CPU)
    torch.testing.assert_close(token_logprobs(ReturnsAll(), batch), token_logprobs(model, batch), rtol=0, atol=1e-14)


def test_tokens_are_counted_without_padding() -> None:
    # (1 + 6) + (3 + 1) + (9 + 4) + (1 + 1)
    assert make_batch(SEQUENCES, CPU).num_tokens == 26
