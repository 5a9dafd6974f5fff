"""How the transformers engine runs a model while it samples: with a KV cache, with recurrent states, or without cache.

Which of them is exact for a model is found out on a few tokens before anything is sampled: its log-probs must be those
of a forward pass over the whole sequence.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from grao_pipeline.errors import InputError
from grao_pipeline.plugins import require

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel

LOG = logging.getLogger(__name__)
TOLERANCE_NATS = {torch.float64: 1e-6, torch.float32: 2e-3}
HALF_PRECISION_TOLERANCE_NATS = 0.3
"""Largest mean difference of log-probs between two ways of running a model, by its precision."""
RECURRENT_SHARE = 0.1
"""Recurrent states are held to this share of the tolerance: some families round them, step by step."""
PROBE = ((7, 2), (4, 1))
"""(length of the prompt, number of samples) of the sequences on which the ways are compared."""
PROBE_STEPS = 3


class Decoding(Protocol):
    """The rows of one batch while they are sampled: R at first, fewer after `keep`."""

    needs_equal_lengths: ClassVar[bool]
    """Whether all prompts of a batch must have the same length."""

    def begin(self, prompts: Sequence[Sequence[int]], repeats: Sequence[int]) -> Tensor:
        """Encode every prompt for its number of samples; the logits of the first new token. [R, V]"""

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""

    def advance(self, tokens: Tensor) -> Tensor:
        """Append one token per row [R]; the logits of the next one. [R, V]"""


class CachedDecoding:
    """Each prompt is encoded once, and its cache is repeated for its samples. Shorter prompts are padded on the left.

    Args:
        context_length: finished rows that are still in the batch may be at the model's last position.
    """

    needs_equal_lengths: ClassVar[bool] = False

    def __init__(self, model: "PreTrainedModel | PeftModel", device: torch.device, context_length: int) -> None:
        self._model = model
        self._device = device
        self._context_length = context_length
        parameters = inspect.signature(_undecorated_forward(model)).parameters
        self._takes_positions = "position_ids" in parameters
        self._takes_logits_to_keep = "logits_to_keep" in parameters
        self._cache_name = "cache_params" if "cache_params" in parameters else "past_key_values"

    def begin(self, prompts: Sequence[Sequence[int]], repeats: Sequence[int]) -> Tensor:
        ids, mask = left_padded(prompts, self._device)  # [P, T]
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, positions, None)
        counts = torch.tensor(repeats, device=self._device)
        row_of = torch.repeat_interleave(torch.arange(len(prompts), device=self._device), counts)  # [R]
        self._mask, self._position = mask, positions[:, -1]
        self.keep(row_of)
        return logits[row_of]

    def keep(self, rows: Tensor) -> None:
        self._cache.reorder_cache(rows)  # batch_select_indices knows no recurrent states
        self._mask, self._position = self._mask[rows], self._position[rows]

    def advance(self, tokens: Tensor) -> Tensor:
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        self._position = (self._position + 1).clamp(max=self._context_length - 1)
        return self._forward(tokens[:, None], self._mask, self._position[:, None], self._cache)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: object) -> Tensor:
        arguments: dict[str, Any] = {"input_ids": ids, "use_cache": True, self._cache_name: cache}
        if not self.needs_equal_lengths:
            arguments["attention_mask"] = mask
        if self._takes_positions:
            arguments["position_ids"] = positions
        if self._takes_logits_to_keep:
            arguments["logits_to_keep"] = 1
        output = self._model(**arguments)
        self._cache = getattr(output, self._cache_name)
        last: Tensor = output.logits[:, -1].float()
        return last


class RecurrentDecoding(CachedDecoding):
    """For caches with recurrent states, which padding would change: a batch has prompts of one length."""

    needs_equal_lengths = True


class UncachedDecoding:
    """Every step is a forward pass over the whole sequences: exact for any causal model, and slow."""

    needs_equal_lengths: ClassVar[bool] = True

    def __init__(self, model: "PreTrainedModel | PeftModel", device: torch.device) -> None:
        self._model = model
        self._device = device
        parameters = inspect.signature(_undecorated_forward(model)).parameters
        self._arguments = {"use_cache": False} | ({"logits_to_keep": 1} if "logits_to_keep" in parameters else {})

    def begin(self, prompts: Sequence[Sequence[int]], repeats: Sequence[int]) -> Tensor:
        counts = torch.tensor(repeats, device=self._device)
        self._ids = torch.tensor(prompts, device=self._device).repeat_interleave(counts, dim=0)
        return self._forward()

    def keep(self, rows: Tensor) -> None:
        self._ids = self._ids[rows]

    def advance(self, tokens: Tensor) -> Tensor:
        self._ids = torch.cat([self._ids, tokens[:, None]], dim=1)
        return self._forward()

    def _forward(self) -> Tensor:
        logits: Tensor = self._model(input_ids=self._ids, **self._arguments).logits[:, -1].float()
        return logits


@torch.inference_mode()
def choose_decoding(model: "PreTrainedModel | PeftModel", device: torch.device, context_length: int) -> Decoding:
    """The fastest way to run this model that gives its own log-probs.

    Raises:
        InputError: no way is exact: the model is not a causal language model.
    """
    name = type(model).__name__
    cached, recurrent = (kind(model, device, context_length) for kind in (CachedDecoding, RecurrentDecoding))
    ways: list[Decoding] = [recurrent] if _has_recurrent_layers(model) else [cached, recurrent]
    problems: list[str] = []
    for way in (*ways, UncachedDecoding(model, device)):
        problem = _problem(model, device, way)
        if problem is None:
            if isinstance(way, UncachedDecoding):
                LOG.warning("%s is sampled without a cache, hence slowly (%s).", name, problems[-1])
            return way
        problems.append(problem)
    raise InputError(
        f"The transformers engine cannot sample from {name}: {problems[-1]}. Is it a causal language model? "
        "Otherwise try --engine vllm."
    )


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [P, T], padded on the left with 0, and the attention mask [P, T]."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        mask[index, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)


def _problem(model: "PreTrainedModel | PeftModel", device: torch.device, way: Decoding) -> str | None:
    """What is wrong with this way of running the model, None where its log-probs are right."""
    probe = PROBE[:1] if way.needs_equal_lengths else PROBE
    tokens = _ordinary_tokens(model.config, max(length for length, _ in probe) + PROBE_STEPS)
    prompts = [tokens[:length] for length, _ in probe]
    rows = [list(prompt) for prompt, (_, count) in zip(prompts, probe, strict=True) for _ in range(count)]
    try:
        worst = _distance(model, device, rows, way.begin(prompts, [count for _, count in probe]))
        for step in range(PROBE_STEPS):
            new = [tokens[-1 - (step + index) % len(tokens)] for index in range(len(rows))]
            rows = [[*row, token] for row, token in zip(rows, new, strict=True)]
            worst = max(worst, _distance(model, device, rows, way.advance(torch.tensor(new, device=device))))
            if step == 0:
                rows = rows[1:]
                way.keep(torch.arange(1, len(rows) + 1, device=device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the code of a model family does with a cache that it does not support
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    tolerance = TOLERANCE_NATS.get(next(model.parameters()).dtype, HALF_PRECISION_TOLERANCE_NATS)
    if worst <= (RECURRENT_SHARE * tolerance if isinstance(way, RecurrentDecoding) else tolerance):
        return None
    return f"its log-probs differ by {worst:.3g} nats from those of a forward pass over the whole sequence"


def _distance(
    model: "PreTrainedModel | PeftModel", device: torch.device, rows: Sequence[Sequence[int]], logits: Tensor
) -> float:
    """How far the logits of the next tokens [R, V] are from those of forward passes over prefixes of whole rows."""
    distance = 0.0
    for row, seen in zip(rows, logits, strict=True):
        # One token more than needed: a model that looks ahead is not a causal one.
        ids = torch.tensor([[*row, row[0]]], device=device)
        expected = model(input_ids=ids, use_cache=False).logits[0, -2].float()
        difference = expected.log_softmax(-1) - seen.log_softmax(-1)
        distance = max(distance, float(difference.abs().mean()))
    return distance if distance == distance else float("inf")  # NaN


def _has_recurrent_layers(model: "PreTrainedModel | PeftModel") -> bool:
    """Whether the cache of this model holds more than keys and values."""
    cache_utils = require("transformers.cache_utils")
    try:
        cache = cache_utils.DynamicCache(config=model.config)
    except Exception:  # a config that this cache does not know; the comparison decides
        return False
    return any(isinstance(layer, cache_utils.LinearAttentionCacheLayerMixin) for layer in cache.layers)


def _ordinary_tokens(config: "PreTrainedConfig", count: int) -> list[int]:
    """Token ids that the config gives no role, e.g. of an image."""
    special: set[int] = set()
    for part in (config.to_dict(), config.get_text_config().to_dict()):
        for name, value in part.items():
            if name.endswith(("_token_id", "_token_index")):
                special |= {value} if isinstance(value, int) else {id for id in value or () if isinstance(id, int)}
    size = int(config.get_text_config().vocab_size)
    ordinary = [token for token in range(3, min(size, 5000)) if token not in special] or [0]
    return [ordinary[(11 * index) % len(ordinary)] for index in range(count)]


def _undecorated_forward(model: "PreTrainedModel | PeftModel") -> Callable[..., object]:
    """The forward of the transformers model, also inside a peft wrapper."""
    forward: Callable[..., object] = (model.get_base_model() if hasattr(model, "get_base_model") else model).forward
    return forward
