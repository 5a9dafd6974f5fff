"""Shared prompts and the one-pass head give the loss and gradients of plain transformers, one row at a time.

The oracle runs every sequence alone through the model's own forward, takes log_softmax of all its logits, writes the
objective as the paper does, and leaves the rest to autograd.
"""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from grao_pipeline.errors import UsageError
from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.data.sequences import TrainingGroup
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.grao import Grao
from tests.tiers import examples
from tests.training import families, oracle
from tests.training.families import FAMILIES, VOCABULARY, twin
from tests.training.oracle import backward
from tests.training.steps import (
    Scored,
    library_step,
    ragged_groups,
    relative_distance,
    scored_groups,
    sequence,
    take_gradient,
    training_groups,
)

BETA, LAMBDA = 0.5, 0.6
WHOLE_STEP, SEVERAL_BATCHES = 10**6, 60
MODES = [("split", WHOLE_STEP), ("split", SEVERAL_BATCHES), ("rows", WHOLE_STEP)]


@pytest.fixture(scope="module")
def scored() -> Scored:
    return ragged_groups(VOCABULARY)


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory, scored: Scored) -> list[TrainingGroup]:
    made = training_groups(tmp_path_factory.mktemp("ragged"), *scored)
    assert [group.sequences[0].group_size for group in made] == [3, 1, 16, 2]
    return made


def assert_step_is_plain(
    model: Any, scored: Scored, groups: list[TrainingGroup], mode: tuple[str, int], tolerance: float
) -> None:
    """J and its gradient, relative to the gradient's largest element."""
    attention, tokens_per_batch = mode
    policy = Policy(twin(model), attention)
    gradient, report = library_step(policy, groups, Grao(BETA, LAMBDA), tokens_per_batch)
    terms = oracle.step_terms(model, *scored, BETA, LAMBDA)
    backward(-terms.total)
    assert relative_distance(gradient, take_gradient(model)) < tolerance
    assert report["J"] == pytest.approx(terms.total.item(), rel=tolerance, abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_in_float64_the_step_is_that_of_plain_transformers(
    monkeypatch: pytest.MonkeyPatch, scored: Scored, groups: list[TrainingGroup], family: str
) -> None:
    """What transformers rounds to float32 (norms, eager softmaxes) is computed in float64 here, on both sides."""
    families.compute_in_float64(monkeypatch)
    model = families.compute_norms_in_float64(families.make_model(family, torch.float64))
    for mode in MODES:
        assert_step_is_plain(model, scored, groups, mode, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_with_transformers_own_rounding_of_norms_the_step_is_as_near_as_that(
    scored: Scored, groups: list[TrainingGroup], family: str
) -> None:
    assert_step_is_plain(families.make_model(family, torch.float64), scored, groups, ("split", WHOLE_STEP), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32_the_step_is_that_of_plain_transformers(
    scored: Scored, groups: list[TrainingGroup], family: str
) -> None:
    assert_step_is_plain(families.make_model(family), scored, groups, ("split", WHOLE_STEP), 1e-5)


@pytest.fixture(scope="module", params=["qwen2", "mistral"])
def exact_model(request: pytest.FixtureRequest) -> Any:
    return families.compute_norms_in_float64(families.make_model(request.param, torch.float64))


@pytest.mark.slow
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.data_too_large])
@given(drawn=scored_groups(VOCABULARY, most_groups=3, most_samples=16))
def test_any_groups_give_the_step_of_plain_transformers(
    tmp_path_factory: pytest.TempPathFactory, exact_model: Any, drawn: Scored
) -> None:
    """Sizes of groups, lengths, rewards, references and weights of tokens as hypothesis draws them."""
    groups = training_groups(tmp_path_factory.mktemp("drawn"), *drawn)
    if not groups:
        return
    policy = Policy(twin(exact_model), "split")
    gradient, report = library_step(policy, groups, Grao(BETA, LAMBDA), WHOLE_STEP)
    terms = oracle.step_terms(exact_model, *drawn, BETA, LAMBDA)
    backward(-terms.total)
    for found, expected in zip(gradient, take_gradient(exact_model), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert report["J"] == pytest.approx(terms.total.item(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("attention", ["split", "rows"])
@pytest.mark.parametrize("family", ["qwen2", "gemma3"])
def test_recomputing_activations_gives_the_same_gradients(
    groups: list[TrainingGroup], family: str, attention: str
) -> None:
    plain = families.make_model(family)
    model = twin(plain)
    kept = Policy(plain, attention)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    recomputed = Policy(model, attention).train()
    assert all(layer.gradient_checkpointing and layer.training for layer in recomputed.layers())
    expected, _ = library_step(kept, groups, Grao(BETA, LAMBDA), WHOLE_STEP)
    found, _ = library_step(recomputed, groups, Grao(BETA, LAMBDA), WHOLE_STEP)
    assert relative_distance(found, expected) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["split", "rows"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "granite"])
def test_under_autocast_the_step_is_as_near_float32_as_transformers_own(
    scored: Scored, groups: list[TrainingGroup], family: str, attention: str
) -> None:
    """bfloat16 keeps 8 bits; how far that leads depends on the model: 1 % of the gradient in one, 11 % in another."""
    model = families.make_model(family)
    policy = Policy(twin(model), attention)
    batch = pack([each for group in groups for each in group.sequences])
    exact_logprobs = policy.logprobs(batch)
    plain = []
    for rounded in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=rounded):
            terms = oracle.step_terms(model, *scored, BETA, LAMBDA)
        backward(-terms.total)
        plain.append(flat(take_gradient(model)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logprobs = policy.logprobs(batch)
        gradient = flat(library_step(policy, groups, Grao(BETA, LAMBDA), WHOLE_STEP)[0])
    assert logprobs.dtype == torch.float32
    assert 0 < float((logprobs - exact_logprobs).abs().mean()) < 0.05  # nats
    exact, of_plain = plain
    assert torch.isfinite(gradient).all()
    assert 0 < float((gradient - exact).norm()) < 1.25 * float((of_plain - exact).norm())


def flat(gradient: list[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in gradient])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_half_precision_weights_has_log_probs_and_gradients_without_a_nan(
    groups: list[TrainingGroup], dtype: torch.dtype
) -> None:
    exact = families.make_model("qwen2")
    batch = pack(groups[0].sequences)
    expected = Policy(twin(exact), "split").logprobs(batch)
    policy = Policy(exact.to(dtype), "split")
    found = policy.logprobs(batch)
    assert found.dtype == torch.float32  # the softmax over the vocabulary is not rounded
    assert float((found - expected).abs().mean()) < 0.05
    gradient, _ = library_step(policy, groups, Grao(BETA, LAMBDA), WHOLE_STEP)
    assert all(torch.isfinite(each).all() for each in gradient)


# Rows of ragged lengths


# Prompts of 1, 3 and 9 tokens, continuations of 1, 6 and 4: most rows are padded.
SEQUENCES = [
    sequence([3], [4, 5, 6, 7, 8, 9]),
    sequence([10, 11, 12], [13]),
    sequence([1, 2, 3, 4, 5, 6, 7, 8, 9], [20, 21, 22, 2]),
    sequence([49], [48]),
]


@pytest.mark.parametrize("attention", ["split", "rows"])
@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma2"])
def test_log_probs_are_transformers_own_row_by_row(family: str, attention: str) -> None:
    """GPT-2 learns absolute positions: they begin at a sequence's first token."""
    model = families.make_model(family)
    expected = [oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids) for each in SEQUENCES]
    found = Policy(twin(model), attention).logprobs(pack(SEQUENCES))
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_padding_of_rows_sends_no_gradient() -> None:
    """The token at padding, 0, occurs nowhere else: its embedding gets no gradient."""
    model = families.make_model("llama")
    policy = Policy(model, "rows")
    value, _ = policy(pack(SEQUENCES), lambda logprobs: logprobs.sum(), True)
    backward(value)
    gradient = model.get_input_embeddings().weight.grad
    assert float(gradient[0].abs().max()) == 0.0
    assert float(gradient[49].abs().max()) > 0.0


def test_the_loss_value_and_the_log_probs_come_without_a_graph() -> None:
    policy = Policy(families.make_model("qwen2"), "split")
    batch = pack(SEQUENCES)
    value, logprobs = policy(batch, lambda leaf: leaf.mean(), True)
    assert value.requires_grad
    assert not logprobs.requires_grad
    torch.testing.assert_close(logprobs, policy.logprobs(batch))


# Adapters


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's own
@pytest.mark.parametrize("attention", ["split", "rows"])
def test_a_lora_adapter_gets_the_gradients_of_plain_transformers(attention: str) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    adapter = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    model = peft.get_peft_model(families.make_model("llama"), adapter).eval()
    policy = Policy(twin(model), attention)
    value, logprobs = policy(pack(SEQUENCES), lambda leaf: leaf.sum(), True)
    backward(value)
    expected = [oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids) for each in SEQUENCES]
    backward(torch.cat(expected).sum())
    torch.testing.assert_close(logprobs, torch.cat(expected).detach(), rtol=1e-5, atol=1e-5)
    trained = {name: each.grad for name, each in policy.model.named_parameters() if each.grad is not None}
    plain = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert trained.keys() == plain.keys()
    assert all("lora" in name for name in plain)
    assert relative_distance(list(trained.values()), list(plain.values())) < 1e-5


# Which attention is used


def test_plain_rows_can_be_chosen_later() -> None:
    model = families.make_model("mistral")
    policy = Policy(twin(model), "split")
    batch = pack(SEQUENCES)
    shared = policy.logprobs(batch)
    policy.use_rows()
    assert policy.attention == "rows"
    torch.testing.assert_close(policy.logprobs(batch), shared, rtol=1e-5, atol=1e-5)
    # The model is transformers' own again.
    ids = torch.tensor([[1, 5, 9]])
    torch.testing.assert_close(policy.model(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)


def test_a_model_without_a_language_modeling_head_is_refused() -> None:
    from transformers import Qwen2ForSequenceClassification

    config = families.make_model("qwen2").config
    policy = Policy(Qwen2ForSequenceClassification(config), "split")
    with pytest.raises(UsageError, match="Qwen2ForSequenceClassification has no LM head"):
        policy.logprobs(pack(SEQUENCES))


def test_an_unknown_attention_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="unknown attention 'ring'"):
        Policy(families.make_model("qwen2"), "ring")
