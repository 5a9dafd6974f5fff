"""The one-pass head is autograd of log_softmax over all the logits, and never makes them all at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from grao_pipeline.training.model import lm_head
from grao_pipeline.training.model.lm_head import Buffer, Head, token_logprobs, top_logprobs, weighted_logprob_sum
from tests.training.oracle import backward

VOCABULARY, HIDDEN = 37, 12


def plain_logprobs(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """Logits as transformers' models make them: bias, then scale, then soft-cap."""
    logits = torch.nn.functional.linear(hidden, head.weight, head.bias) * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return torch.log_softmax(logits, dim=-1)[torch.arange(len(targets)), targets]


def random_inputs(
    tokens: int, vocabulary: int = VOCABULARY, hidden: int = HIDDEN, **head: Any
) -> tuple[Tensor, Head, Tensor, Tensor]:
    """Hidden states, head, weights (negative and zero ones too) and targets, in float64."""
    generator = torch.Generator().manual_seed(tokens)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    bias = draw(vocabulary).requires_grad_() if head.pop("bias", False) else None
    weights = draw(tokens)
    weights[::5] = 0.0
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    made = Head(draw(vocabulary, hidden).requires_grad_(), bias, **head)
    return draw(tokens, hidden).requires_grad_(), made, weights, targets


def leaves(hidden: Tensor, head: Head) -> list[Tensor]:
    return [hidden, head.weight, *([] if head.bias is None else [head.bias])]


@contextmanager
def chunks_of(tokens: int, block: int, vocabulary: int = VOCABULARY) -> Iterator[None]:
    """Matrix products over this many tokens at a time, the softmax over `block` of them; at least one token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(lm_head.CHUNK_ELEMENTS, "cpu", tokens * vocabulary)
        patch.setitem(lm_head.BLOCK_ELEMENTS, "cpu", block * vocabulary)
        yield


HEADS: list[dict[str, Any]] = [
    {},
    {"bias": True},
    {"scale": 0.3},
    {"softcap": 2.0},
    {"bias": True, "scale": 1.7, "softcap": 1.5},
]


@pytest.mark.parametrize("tokens", [1, 7, 64, 130])
@pytest.mark.parametrize("options", HEADS)
def test_sum_and_gradients_are_autograds(options: dict[str, Any], tokens: int) -> None:
    """However the tokens are cut into chunks, and the chunks into blocks."""
    hidden, head, weights, targets = random_inputs(tokens, **options)
    logprobs = plain_logprobs(hidden, head, targets)
    expected = torch.autograd.grad((logprobs * weights).sum(), leaves(hidden, head))
    for chunk, block in ((0, 0), (1, 1), (2, 5), (9, 4), (64, 1), (64, 64), (1000, 7), (1000, 1000)):
        with chunks_of(chunk, block):
            value, found = weighted_logprob_sum(hidden, head, weights, targets)
            torch.testing.assert_close(found, logprobs.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(token_logprobs(hidden, head, targets), found, rtol=1e-14, atol=1e-14)
            torch.testing.assert_close(value, (logprobs * weights).sum(), rtol=1e-12, atol=1e-12)
            gradients = torch.autograd.grad(value, leaves(hidden, head))
        for mine, theirs in zip(gradients, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"bias": True, "scale": 1.7, "softcap": 1.5}])
def test_compiled_it_gives_the_same_for_any_number_of_tokens(options: dict[str, Any]) -> None:
    import torch._dynamo.config
    from torch._dynamo.utils import counters

    counters.clear()
    with torch._dynamo.config.patch(disable=False), chunks_of(50, 9):
        for tokens in (130, 7, 64, 1):
            hidden, head, weights, targets = random_inputs(tokens, **options)
            found, expected = (
                [*sums, *torch.autograd.grad(sums[0], leaves(hidden, head))]
                for sums in (weighted_logprob_sum(hidden, head, weights, targets, made) for made in (True, False))
            )
            for mine, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    assert counters["stats"]["unique_graphs"] >= 1


def test_a_factor_on_the_sum_reaches_every_gradient() -> None:
    """As the trainer's division by the number of groups does."""
    hidden, head, weights, targets = random_inputs(20, bias=True)
    value, _ = weighted_logprob_sum(hidden, head, weights, targets)
    found = torch.autograd.grad(value / 7, leaves(hidden, head))
    value, _ = weighted_logprob_sum(hidden, head, weights / 7, targets)
    for mine, theirs in zip(found, torch.autograd.grad(value, leaves(hidden, head)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_buffer_that_other_calls_used_changes_nothing(dtype: torch.dtype) -> None:
    buffer = Buffer()
    buffer.matrix(3, VOCABULARY, torch.empty(0)).fill_(torch.nan)  # of another size and type
    for tokens in (7, 23, 1, 16):
        hidden, head, weights, targets = random_inputs(tokens)
        inputs = [one.detach().to(dtype).requires_grad_() for one in (hidden, head.weight)]
        found = []
        for given in (buffer, None):
            total, logprobs = weighted_logprob_sum(inputs[0], Head(inputs[1]), weights, targets, buffer=given)
            found.append([total, logprobs, *torch.autograd.grad(total, inputs)])
        for with_buffer, without in zip(*found, strict=True):
            assert torch.equal(with_buffer, without)


def test_what_lies_between_the_rows_of_a_buffer_is_zero() -> None:
    """Intel's AMX units multiply it by zero, which of a NaN is a NaN: other processors do not show that."""
    buffer, like = Buffer(), torch.empty(0, dtype=torch.bfloat16)
    for rows, columns in ((4, 50), (3, 40), (4, 50)):
        matrix = buffer.matrix(rows, columns, like)
        whole = matrix.as_strided((rows, matrix.stride(0)), matrix.stride())
        assert matrix.stride(0) > columns
        assert not whole[:, columns:].any()
        whole.fill_(torch.nan)


def test_a_second_gradient_is_refused_rather_than_wrong() -> None:
    hidden, head, weights, targets = random_inputs(4)
    total, _ = weighted_logprob_sum(hidden, head, weights, targets)
    torch.autograd.grad(total * 3, hidden, retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(total, hidden)


def test_log_probs_and_weights_are_no_part_of_the_graph() -> None:
    hidden, head, weights, targets = random_inputs(5)
    value, found = weighted_logprob_sum(hidden, head, weights.requires_grad_(), targets)
    assert not found.requires_grad
    backward(value)
    assert weights.grad is None


def test_a_tied_head_gets_both_gradients() -> None:
    """The same matrix embeds the tokens and reads them: both parts add up."""
    _, head, weights, targets = random_inputs(9)
    ids = torch.arange(9) % VOCABULARY
    expected = torch.autograd.grad((plain_logprobs(head.weight[ids], head, targets) * weights).sum(), head.weight)
    value, _ = weighted_logprob_sum(head.weight[ids], head, weights, targets)
    torch.testing.assert_close(torch.autograd.grad(value, head.weight), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_states_have_log_probs_in_float32(dtype: torch.dtype) -> None:
    hidden, head, weights, targets = random_inputs(50, bias=True)
    halves = [each.detach().to(dtype).requires_grad_() for each in leaves(hidden, head)]
    rounded = replace(head, weight=halves[1], bias=halves[2])
    value, found = weighted_logprob_sum(halves[0], rounded, weights.float(), targets)
    assert value.dtype == found.dtype == torch.float32
    exact = [each.detach().double().requires_grad_() for each in halves]
    of_exact = plain_logprobs(exact[0], replace(head, weight=exact[1], bias=exact[2]), targets)
    # The matrix products round to 8 bits (11 in float16); logits here are about 3.5, the largest about 14.
    torch.testing.assert_close(found.double(), of_exact.detach(), rtol=0.02, atol=0.05)
    expected = torch.autograd.grad((of_exact * weights).sum(), exact)
    for mine, theirs in zip(torch.autograd.grad(value, halves), expected, strict=True):
        assert mine.dtype == dtype
        assert float((mine.double() - theirs).norm() / theirs.norm()) < 0.02


def test_under_autocast_products_are_rounded_and_gradients_are_not() -> None:
    hidden, head, weights, targets = random_inputs(50, bias=True)
    expected = torch.autograd.grad((plain_logprobs(hidden, head, targets) * weights).sum(), leaves(hidden, head))
    floats = [each.detach().float().requires_grad_() for each in leaves(hidden, head)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, found = weighted_logprob_sum(
            floats[0], replace(head, weight=floats[1], bias=floats[2]), weights.float(), targets
        )
    assert found.dtype == torch.float32
    for mine, theirs in zip(torch.autograd.grad(value, floats), expected, strict=True):
        assert mine.dtype == torch.float32
        assert 1e-5 < float((mine.double() - theirs).norm() / theirs.norm()) < 0.02


def test_logits_beyond_exps_range_are_no_nan() -> None:
    hidden, head, weights, targets = random_inputs(8, scale=1e4)
    value, found = weighted_logprob_sum(hidden, head, weights, targets)
    torch.testing.assert_close(found, plain_logprobs(hidden, head, targets).detach(), rtol=1e-12, atol=1e-9)
    assert all(torch.isfinite(each).all() for each in torch.autograd.grad(value, leaves(hidden, head)))


# Memory


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most elements that any operation returned."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, Tensor):
                self.elements = max(self.elements, each.numel())
        return made


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"bias": True, "scale": 2.0, "softcap": 3.0}])
def test_the_logits_never_exist_whole(options: dict[str, Any]) -> None:
    """3200 tokens in chunks of 64: no tensor is much larger than a fiftieth of the logits, forwards and backwards."""
    tokens, vocabulary = 3200, 1000
    hidden, head, weights, targets = random_inputs(tokens, vocabulary, 4, **options)
    one_chunk = 1.1 * tokens * vocabulary / 50  # its rows lie a little apart
    with chunks_of(64, 64, vocabulary):
        with LargestTensor() as largest:
            value, _ = weighted_logprob_sum(hidden, head, weights, targets)
            backward(value)
        assert largest.elements <= one_chunk
        with LargestTensor() as largest:
            token_logprobs(hidden, head, targets)
        assert largest.elements <= one_chunk
    with LargestTensor() as largest:
        plain_logprobs(hidden, head, targets)
    assert largest.elements == tokens * vocabulary


@pytest.mark.parametrize("options", HEADS)
def test_several_tokens_at_every_place_are_autograds(options: dict[str, Any]) -> None:
    """Three of them, one twice at the first place."""
    hidden, head, _, _ = random_inputs(23, **options)
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(VOCABULARY, (23, 3), generator=generator)
    targets[0] = torch.tensor([4, 4, 9])
    weights = torch.randn(23, 3, generator=generator, dtype=torch.float64)
    logprobs = torch.stack([plain_logprobs(hidden, head, column) for column in targets.T], dim=1)
    expected = torch.autograd.grad((logprobs * weights).sum(), leaves(hidden, head))
    for chunk, block in ((1, 1), (9, 4), (1000, 1000)):
        with chunks_of(chunk, block):
            value, found = weighted_logprob_sum(hidden, head, weights, targets)
            torch.testing.assert_close(found, logprobs.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(token_logprobs(hidden, head, targets), found, rtol=1e-14, atol=1e-14)
            gradients = torch.autograd.grad(value, leaves(hidden, head))
            for gradient, other in zip(gradients, expected, strict=True):
                torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-11)


def test_the_likeliest_tokens_are_those_of_the_whole_softmax() -> None:
    hidden, head, _, _ = random_inputs(23)
    whole = torch.log_softmax(hidden @ head.weight.T, dim=-1).detach()
    with chunks_of(9, 4):
        ids, logprobs = top_logprobs(hidden, head, 5)
    torch.testing.assert_close(logprobs, whole.sort(dim=-1, descending=True).values[:, :5], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.gather(-1, ids), logprobs, rtol=1e-12, atol=1e-12)
