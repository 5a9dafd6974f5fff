"""The Engine seam: prompts' token ids and sampling options in, sampled token ids and log-probs out, streamed."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from grao_pipeline.models.devices import resolve_device, resolve_dtype


@dataclass(frozen=True)
class EngineOptions:
    """What an engine needs to load a policy.

    Example: `EngineOptions("models/base", "float32", 2048, "cpu", 32, {"max_num_seqs": "64"})`
    """

    model: str
    dtype: str
    context_length: int
    device: str
    batch_size: int
    arguments: dict[str, str]
    """Free `key=value` arguments; an engine refuses the ones that it does not know."""
    adapter: str | None = None
    """Directory of a LoRA adapter (peft) on top of the model."""
    quantization: str | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    server: "ServerOptions | None" = None

    def resolved(self) -> "EngineOptions":
        """With `device` and `dtype` as the machine has them on which the engine runs."""
        device = resolve_device(self.device)
        return replace(self, device=device, dtype=resolve_dtype(self.dtype, device))


@dataclass(frozen=True)
class ServerOptions:
    """An OpenAI-compatible server, for engines that sample through one."""

    base_url: str
    served_model: str | None = None
    """The model's name there; the only one that it serves, where None."""
    concurrency: int = 64
    """Requests in flight."""
    retries: int = 10
    timeout_seconds: float = 600.0
    allow_retokenize: bool = False
    """Make token ids from text where the server returns none."""


@dataclass(frozen=True)
class Sampling:
    """How to sample. `stop_token_ids` end a completion and are kept as its last token."""

    temperature: float
    top_p: float
    max_new_tokens: int
    stop_token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """One group to sample.

    Example: `Request((0, 17), [151644, 872], 8, seed=4611686018427387903, max_new_tokens=512)`
    """

    key: tuple[int, int]
    """(part, row): returned with the group, never interpreted by an engine."""
    prompt_token_ids: list[int]
    num_samples: int
    seed: int
    """The group's own seed: what is sampled must not depend on which requests happen to be in flight with it."""
    max_new_tokens: int
    """Tokens that still fit behind this prompt; at most the sampling's."""


@dataclass(frozen=True)
class Sample:
    """One completion.

    Example: `Sample([791, 374, 151645], [-0.1, -2.3, -0.01], "stop")`
    """

    token_ids: list[int]
    """As sampled, end-of-turn token included where it was sampled. [L]"""
    logprobs: list[float] | None
    """Log-probability of each id under the untempered policy, in nats [L]; None where it is not known."""
    finish_reason: str
    """`stop`, `length` or `abort`."""
    retokenized: bool = False
    """The ids were made from the text, because a server returned none."""


@dataclass(frozen=True)
class SampledGroup:
    """The samples of one request."""

    key: tuple[int, int]
    samples: list[Sample]


class Engine(Protocol):
    """Samples groups. Construct with `EngineOptions`; a new engine is one class and one line in `ENGINES`."""

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Yield every request's group, in any order: those that finished together in one list.

        A list is kept or lost whole. Where samples depend on the batch that they were drawn in (in the last bits), a
        list is a whole batch, and the rest of a part is batched as it would have been: so an interrupted run ends in
        the same table.

        Args:
            parts: the requests, part by part. An engine takes further parts as it has room for them; it may mix
                requests of several parts only where that cannot change what is sampled.

        Raises:
            StageFailure: the engine died.
        """
        ...

    def close(self) -> None:
        """Free the device."""
        ...


class FakeEngine:
    """A public fake for tests: sample i of a prompt is `length` tokens counting up from its last token + i."""

    def __init__(self, length: int = 3, stop_token_id: int = 0) -> None:
        self.length = length
        self.stop_token_id = stop_token_id
        self.num_requests = 0

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        for part in parts:
            for request in part:
                self.num_requests += 1
                first = request.prompt_token_ids[-1]
                samples = []
                for index in range(request.num_samples):
                    ids = [first + index + offset for offset in range(1, self.length)] + [self.stop_token_id]
                    samples.append(Sample(ids, [math.log(0.5)] * len(ids), "stop"))
                yield [SampledGroup(request.key, samples)]

    def close(self) -> None:
        pass
