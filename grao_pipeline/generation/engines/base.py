"""The Engine seam: token ids of prompts and sampling options in, sampled token ids and log-probs out, streamed."""

import math
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from grao_pipeline.arguments import NoArguments, PluginArguments
from grao_pipeline.messages import Message
from grao_pipeline.models.devices import resolve_device, resolve_dtype
from grao_pipeline.options import Device, Dtype
from grao_pipeline.residence import Resident
from grao_pipeline.schemas import FinishReason

Api = Literal["completions", "chat", "auto"]


@dataclass(frozen=True)
class ServerOptions:
    """An OpenAI-compatible server, for engines that sample through one."""

    base_url: str
    served_model: str | None
    """The model's name on the server; None where it serves only one."""
    concurrency: int
    """Requests in flight."""
    retries: int
    """Further tries of a request that failed."""
    request_timeout: float
    """Seconds of one try."""
    allow_retokenize: bool
    """Make token ids from the text where the server returns none."""
    api: Api = "completions"
    """`auto`: completions where the server has them, else chat."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    template_arguments: Mapping[str, object] = field(default_factory=dict)
    """Of the server's chat template."""


@dataclass(frozen=True)
class EngineOptions:
    """What an engine needs to load a policy.

    Example: `EngineOptions("models/base", "float32", 2048, "cpu", batch_size=32)`
    """

    model: str
    """Directory of the model."""
    dtype: Dtype
    context_length: int
    """Longest prompt plus completion, in tokens."""
    device: Device
    batch_size: int
    """Prompts that an engine with fixed batches samples together."""
    adapter: str | None = None
    """Directory of a LoRA adapter (peft) on top of the model."""
    quantization: str | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    server: ServerOptions | None = None
    reads_text: bool = False
    """Whether the sampling has stop strings, so that the engine needs the tokenizer."""
    weights: str = ""
    """Fingerprint of the weights, with the adapter's."""

    def resolved(self) -> "EngineOptions":
        """With `device` and `dtype` resolved for the machine on which the engine runs."""
        device = resolve_device(self.device)
        return replace(self, device=device, dtype=resolve_dtype(self.dtype, device))


@dataclass(frozen=True)
class Sampling:
    """How to sample. From the policy's logits: the repetition penalty, then the temperature; of the tempered
    distribution the tokens of min-p, of these the top K, and of these, normalized, the nucleus.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    stop_token_ids: tuple[int, ...]
    """They end a completion and stay its last token."""
    top_k: int = 0
    """0: all tokens."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    """Of the tokens that the prompt or the completion has: positive logits are divided by it, others multiplied."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion; `models/token_text.py` says which tokens belong to it. An engine may go on: what
    follows is cut off."""
    arguments: PluginArguments = field(default_factory=NoArguments)
    """The engine's `--sampling-arg`, an instance of its `SamplingArguments`."""

    @property
    def is_policy(self) -> bool:
        """Whether tokens are drawn from the policy as it is: at temperature 1, from all tokens, without a penalty."""
        is_whole = self.top_p == 1.0 and self.top_k == 0 and self.min_p == 0.0
        has_arguments = bool(self.arguments.model_dump(exclude_unset=True))
        return self.temperature == 1.0 and is_whole and self.repetition_penalty == 1.0 and not has_arguments


@dataclass(frozen=True)
class Request:
    """One group to sample.

    Example: `Request((0, 17), [151644, 872], 8, seed=4611686018427387903, max_new_tokens=512)`
    """

    key: tuple[int, int]
    """(part, row): returned with the group, never interpreted by an engine."""
    prompt_token_ids: list[int]
    """[P]"""
    num_samples: int
    seed: int
    """The group's seed: samples must not depend on which requests happen to be in flight together."""
    max_new_tokens: int
    """Tokens that fit after this prompt; at most the sampling's."""
    messages: Sequence[Message] = ()
    """The conversation, for engines that send it to a server."""
    tools: str | None = None
    """JSON schemas of its tools: a JSON list."""


@dataclass(frozen=True)
class Sample:
    """One completion.

    Example: `Sample([791, 374, 151645], [-0.1, -2.3, -0.01], "stop")`
    """

    token_ids: list[int]
    """As sampled, including the end-of-turn token if it was sampled. [L]"""
    logprobs: list[float] | None
    """Log-probability of each id under the untempered policy, in nats [L]; None where it is unknown."""
    finish_reason: FinishReason
    retokenized: bool = False
    """The token ids were made from the text, because a server returned none."""
    text: str | None = None
    """The answer as a server gave it, for an engine without a tokenizer."""
    reasoning: str | None = None
    """The reasoning that a server gave next to the answer."""
    behavior_logprobs: list[float] | None = None
    """Log-probability of each id under the distribution that was sampled from (temperature, top-p, …), in nats [L];
    None where an engine does not know it. Where `Sampling.is_policy`, an engine need not give it."""


SAMPLING_OPTIONS = ("top_k", "min_p", "repetition_penalty")
"""Options that not every engine has; temperature and top-p are everyone's, and stop strings are cut off for all."""
ABORTED = Sample([], [], "abort", behavior_logprobs=[])
"""A sample that an engine gave up, or that was never requested because its prompt leaves no room."""


@dataclass(frozen=True)
class Precision:
    """Where an engine has the policy's weights, and in which precision.

    Example: `Precision("cuda", "bfloat16")`
    """

    device: str
    dtype: str


@dataclass(frozen=True)
class SampledGroup:
    """The samples of one request."""

    key: tuple[int, int]
    samples: list[Sample]


class Engine(Resident):
    """Samples groups. A new engine is one subclass, and one line in `ENGINES` where it is built in.

    Example:
        class ConstantEngine(Engine):
            class Arguments(PluginArguments):
                token_id: int = argument(7, "The only token that is sampled.")

            def __init__(self, options: EngineOptions, arguments: Arguments) -> None:
                self._token_id = arguments.token_id

            def generate(self, parts, sampling):
                for part in parts:
                    yield [SampledGroup(request.key, self._samples(request)) for request in part]
    """

    Arguments: ClassVar[type[PluginArguments]] = NoArguments
    """The model of the engine's `--engine-arg key=value`; the constructor receives an instance."""
    SamplingArguments: ClassVar[type[PluginArguments]] = NoArguments
    """The model of the engine's `--sampling-arg key=value`; `Sampling.arguments` is an instance."""
    sampling_options: ClassVar[Collection[str]] = ()
    """Which of `SAMPLING_OPTIONS` it follows; the others are refused before the model is loaded."""
    uses_device: ClassVar[bool] = True
    """Whether it computes in its own process, so that there is one for every device of the machine; a server's does
    not."""
    reloads: ClassVar[bool] = False
    """Whether it may sample for one run after another, with other weights (`reload`): the rounds then keep it."""

    def __init__(self, options: EngineOptions, arguments: PluginArguments) -> None:
        """Load the policy.

        Raises:
            UsageError: an option or argument cannot work with this engine.
            InputError: the model cannot be loaded.
        """
        return

    @abstractmethod
    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Yield the group of every request, in any order; groups that are finished together in one list.

        A list is saved or lost as a whole. Where samples depend on their batch (in the last bits), a list is a whole
        batch, and the rest of a part is batched as it would have been without an interruption: an interrupted run then
        ends in the same table.

        Args:
            parts: the requests, part by part. An engine takes a further part when it has room for it. It may mix the
                requests of several parts only where that cannot change the samples.

        Raises:
            StageFailure: the engine died.
        """

    def precision(self) -> Precision | None:
        """What `auto` has become; asked for after the last group. None where another program has the weights."""
        return None

    def remarks(self) -> list[str]:
        """What people should know of how it sampled, a sentence each; asked for after the last group."""
        return []

    def reload(self, options: EngineOptions) -> bool:
        """Take the weights of `options.model`, which differ from those it has; all else is as it was opened: config,
        tokenizer, options. False where it cannot: it is closed, and a new one opened.
        """
        return False

    def rest(self) -> bool:
        return False

    def close(self) -> None:
        """Free the device."""
        return


class FakeEngine(Engine):
    """A public fake for tests: sample i of a prompt counts up from the prompt's last token + i and has `length` tokens,
    the last one `stop_token_id`.
    """

    def __init__(self, length: int = 3, stop_token_id: int = 0) -> None:
        self.length = length
        self.stop_token_id = stop_token_id
        self.num_requests = 0
        """Requests that it was given so far."""

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
