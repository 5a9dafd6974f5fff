"""Each kernel is causal attention of every [prompt; continuation] alone.

The oracle is dense: a T × T mask written token by token from the definition, and a softmax. varlen's kernel needs CUDA:
here its arguments go to a plain version of torch's documented contract, so that what is tested is our layout.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grao_pipeline.errors import UsageError
from grao_pipeline.training.data.packing import PackedBatch, pack
from grao_pipeline.training.model.attention import ATTENTIONS, split
from grao_pipeline.training.model.attention.base import (
    SharedPrefixAttention,
    UnsupportedAttention,
    choose_attention,
    make_attention,
)
from grao_pipeline.training.model.policy import Policy
from tests.tiers import examples
from tests.training import families
from tests.training.families import VOCABULARY, twin
from tests.training.oracle import backward
from tests.training.steps import ragged_groups, relative_distance, sequence, take_gradient, training_groups

# Uncompiled, as it must be here, flex attention warns that it is slow.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")

Shape = tuple[int, tuple[int, ...]]
"""Tokens of a prompt, and of each of its continuations."""

RAGGED: list[Shape] = [(4, (3, 1, 6, 3)), (1, (1,)), (9, (2, 8))]


def packed(shapes: list[Shape]) -> PackedBatch:
    """Prompts of distinct tokens, so that neighbors never share one."""
    return pack(
        [sequence([number] * prompt, [1] * n) for number, (prompt, lengths) in enumerate(shapes) for n in lengths]
    )


def may_look(shapes: list[Shape], window: int | None) -> Tensor:
    """True at [i, j] where token i of the packed row sees token j."""
    tokens: list[tuple[int, int | None, int]] = []  # prompt, continuation, position
    for number, (prompt, lengths) in enumerate(shapes):
        tokens += [(number, None, place) for place in range(prompt)]
        tokens += [(number, index, prompt + place) for index, length in enumerate(lengths) for place in range(length)]

    def sees(query: tuple[int, int | None, int], key: tuple[int, int | None, int]) -> bool:
        same = query[0] == key[0] and key[1] in (None, query[1])
        return same and key[2] <= query[2] and (window is None or query[2] - key[2] < window)

    return torch.tensor([[sees(query, key) for key in tokens] for query in tokens])


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float | None, softcap: float | None) -> Tensor:
    """q: [T, H, D]; k, v: [T, K, D]. Head h looks at the keys of head h · K / H."""
    shared = q.shape[1] // k.shape[1]
    heads = []
    for head in range(q.shape[1]):
        scores = q[:, head] @ k[:, head // shared].T * (q.shape[2] ** -0.5 if scale is None else scale)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        heads.append(torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1) @ v[:, head // shared])
    return torch.stack(heads, dim=1)


def plain_varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """torch's varlen_attn by its documentation; masks are aligned to the ends, as flash attention does it."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    queries, keys = cu_seq_q.tolist(), cu_seq_k.tolist()
    assert queries[0] == keys[0] == 0
    assert len(query) == queries[-1]
    assert len(key) == len(value) == keys[-1]
    assert max_q == max(b - a for a, b in pairwise(queries))
    assert max_k == max(b - a for a, b in pairwise(keys))
    assert enable_gqa or query.shape[1] == key.shape[1]
    assert query.dtype == key.dtype == value.dtype
    left, right = window_size
    pieces = []
    for (begin, end), (first, last) in zip(pairwise(queries), pairwise(keys), strict=True):
        position = torch.arange(end - begin)[:, None] + (last - first) - (end - begin)
        other = torch.arange(last - first)[None]
        mask = torch.ones(end - begin, last - first, dtype=torch.bool)
        mask &= (other >= position - left) if left >= 0 else True
        mask &= (other <= position + right) if right >= 0 else True
        pieces.append(dense(query[begin:end], key[first:last], value[first:last], mask, scale, None))
    return torch.cat(pieces)


@pytest.fixture(scope="module", autouse=True)
def varlen_without_cuda() -> Iterator[None]:
    """torch has no such kernel on CPU; the function that calls it is replaced, nothing of ours."""
    import torch.nn.attention.varlen as varlen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "varlen_attn", plain_varlen_attn)
        yield


@pytest.fixture(scope="module", autouse=True)
def flex_uncompiled() -> Iterator[None]:
    """torch traces even the slow flex attention by torch.compile, which the tests switch off."""
    import torch._dynamo.config

    with torch._dynamo.config.patch(disable=False):
        yield


def random_states(num_tokens: int, heads: int, key_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values."""
    generator = torch.Generator().manual_seed(num_tokens)

    def draw(count: int) -> Tensor:
        return torch.randn(num_tokens, count, 8, generator=generator, dtype=torch.float64).requires_grad_()

    return draw(heads), draw(key_heads), draw(key_heads)


def attend(
    name: str,
    batch: PackedBatch,
    states: tuple[Tensor, Tensor, Tensor],
    scale: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    kernel: SharedPrefixAttention[Any] = make_attention(name)
    return kernel.attend(*states, kernel.prepare(batch), scale, window, softcap)


def assert_same_with_gradients(found: Tensor, expected: Tensor, states: tuple[Tensor, Tensor, Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = torch.autograd.grad(found, states, upstream)
    for mine, theirs in zip(gradients, torch.autograd.grad(expected, states, upstream), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


SETTINGS = [  # scale, window, softcap
    (None, None, None),
    (0.7, None, None),
    (None, 1, None),
    (None, 3, None),
    (0.2, 5, None),
    (None, 1000, None),
    (None, None, 0.8),
    (0.7, 3, 0.8),
]


@pytest.mark.slow
@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize(("scale", "window", "softcap"), SETTINGS)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_kernel_is_dense_attention_of_every_sequence_alone(
    name: str, scale: float | None, window: int | None, softcap: float | None, key_heads: int
) -> None:
    if name == "varlen" and softcap is not None:
        return  # refused, see below
    batch = packed(RAGGED)
    states = q, k, v = random_states(batch.num_tokens, 4, key_heads)
    expected = dense(*states, may_look(RAGGED, window), scale, softcap)
    if name == "flex":  # torch has no backward of it on CPU
        found = attend(name, batch, (q.detach(), k.detach(), v.detach()), scale, window, softcap)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        return
    assert_same_with_gradients(attend(name, batch, states, scale, window, softcap), expected, states)


@settings(max_examples=examples(60))
@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=8).map(tuple)),
        min_size=1,
        max_size=4,
    ),
    window=st.none() | st.integers(1, 14),
)
@pytest.mark.parametrize("name", ["split", "varlen"])
def test_kernels_are_dense_attention_for_any_lengths(name: str, shapes: list[Shape], window: int | None) -> None:
    batch = packed(shapes)
    states = random_states(batch.num_tokens, 2, 1)
    with torch.no_grad():
        found = attend(name, batch, states, None, window, None)
        expected = dense(*states, may_look(shapes, window), None, None)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple)),
        min_size=1,
        max_size=2,
    ),
    window=st.none() | st.integers(1, 14),
    softcap=st.none() | st.just(0.8),
    block_scores=st.sampled_from([1, 5, 24, 100, 1 << 18]),
    kept_scores=st.sampled_from([0, 1000]),
    heads=st.sampled_from([(4, 4), (4, 2), (6, 2), (4, 1)]),
)
def test_split_gives_the_same_in_any_blocks_with_weights_kept_or_made_again(
    shapes: list[Shape],
    window: int | None,
    softcap: float | None,
    block_scores: int,
    kept_scores: int,
    heads: tuple[int, int],
) -> None:
    batch = packed(shapes)
    states = random_states(batch.num_tokens, *heads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "BLOCK_SCORES", block_scores)
        patch.setattr(split, "STORED_SCORES", kept_scores)
        expected = dense(*states, may_look(shapes, window), None, softcap)
        assert_same_with_gradients(attend("split", batch, states, None, window, softcap), expected, states)


# In whole models


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> PackedBatch:
    groups = training_groups(tmp_path_factory.mktemp("ragged"), *ragged_groups(VOCABULARY))
    return pack([each for group in groups for each in group.sequences])


@pytest.mark.slow
@pytest.mark.parametrize("family", families.FAMILIES)
def test_flex_gives_the_log_probs_of_split(batch: PackedBatch, family: str) -> None:
    model = families.make_model(family)
    split, flex = (Policy(twin(model), name).logprobs(batch) for name in ("split", "flex"))
    torch.testing.assert_close(flex, split, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in families.FAMILIES if name != "gemma2"])
def test_varlen_gives_the_log_probs_and_gradients_of_split(batch: PackedBatch, family: str) -> None:
    model = families.make_model(family)
    made = []
    for name in ("split", "varlen"):
        policy = Policy(twin(model), name)
        value, logprobs = policy(batch, lambda leaf: leaf.sin().sum(), False)
        backward(value)
        made.append((logprobs, take_gradient(policy.model)))
    (of_split, expected), (of_varlen, found) = made
    torch.testing.assert_close(of_varlen, of_split, rtol=1e-5, atol=1e-5)
    assert relative_distance(found, expected) < 1e-5


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3", "phi"])
def test_under_autocast_varlen_is_handed_half_precision_alone(
    batch: PackedBatch, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Flash attention knows nothing else; rotary embeddings return float32 under autocast."""
    import torch.nn.attention.varlen as varlen

    seen: set[torch.dtype] = set()

    def note(query: Tensor, key: Tensor, value: Tensor, *others: Any, **options: Any) -> Tensor:
        seen.update({query.dtype, key.dtype, value.dtype})
        return plain_varlen_attn(query.to(value.dtype), key.to(value.dtype), value, *others, **options)

    monkeypatch.setattr(varlen, "varlen_attn", note)
    policy = Policy(families.make_model(family), "varlen")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        policy.logprobs(batch)
    assert seen == {torch.bfloat16}


# What the kernels do not have


def test_a_soft_cap_is_not_varlens(batch: PackedBatch) -> None:
    with pytest.raises(UnsupportedAttention, match="no soft-cap; --attention flex has"):
        Policy(families.make_model("gemma2"), "varlen").logprobs(batch)


@pytest.mark.parametrize(
    ("family", "option"), [("gpt-neox", "attention_dropout"), ("qwen2", "attention_dropout"), ("gpt2", "attn_pdrop")]
)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_dropout_on_attention_is_unsupported(batch: PackedBatch, family: str, option: str, attention: str) -> None:
    changes: dict[str, Any] = {option: 0.1}
    policy = Policy(families.make_model(family, **changes), attention)
    policy.model.train()  # the policy itself leaves it off
    with pytest.raises(UnsupportedAttention, match="Attention needs dropout"):
        policy.logprobs(batch)


def test_attention_sinks_are_unsupported(batch: PackedBatch) -> None:
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(**families.COMMON, head_dim=16, num_local_experts=2, num_experts_per_tok=1, sliding_window=8)
    policy = Policy(GptOssForCausalLM(config).eval(), "split")
    with pytest.raises(UnsupportedAttention, match="GptOssAttention needs attention sinks"):
        policy.logprobs(batch)


def test_a_model_that_drops_the_layout_on_its_way_is_unsupported() -> None:
    model = families.make_model("llama")
    Policy(model, "split")
    with pytest.raises(UnsupportedAttention, match="LlamaAttention does not pass on the layout"):
        model(torch.tensor([[1, 2, 3]]))


def test_auto_is_split_on_cpu_and_on_cuda_what_the_precision_allows() -> None:
    assert choose_attention("auto", torch.device("cuda"), "bfloat16") == "varlen"
    assert choose_attention("auto", torch.device("cuda"), "float32") == "flex"  # flash knows half precision alone
    assert choose_attention("auto", torch.device("cpu"), "float32") == "split"
    assert choose_attention("rows", torch.device("cuda"), "bfloat16") == "rows"


def test_a_kernel_of_another_package_is_named_by_its_path() -> None:
    path = "grao_pipeline.training.model.attention.split:SplitAttention"
    assert type(make_attention(path)) is type(make_attention("split"))
    with pytest.raises(UsageError, match="unknown attention 'ring'"):
        make_attention("ring")
