"""The vLLM engine: streams requests into one `vllm.LLM` and yields every group as soon as it is finished."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from grao_pipeline.arguments import FreeArguments, JsonList, PluginArguments, argument
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.generation.engines.base import (
    SAMPLING_OPTIONS,
    Engine,
    EngineOptions,
    Precision,
    Request,
    Sample,
    SampledGroup,
    Sampling,
)
from grao_pipeline.models.adapter import check_adapter
from grao_pipeline.models.vllm_process import (
    DeathWatch,
    VllmProcess,
    cpu_defaults,
    death_as_failure,
    refuse_reserved,
)
from grao_pipeline.plugins import require
from grao_pipeline.schemas import FinishReason

if TYPE_CHECKING:
    from vllm import RequestOutput

REMEDY = "if need be with --gpu-memory-utilization or --engine-arg max_num_seqs=… lowered"
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM supports."""
OPTIONS = {
    "model": "--model",
    "dtype": "--dtype",
    "max_model_len": "--max-model-len",
    "tensor_parallel_size": "--tensor-parallel-size",
    "quantization": "--quantization",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "enable_lora": "--adapter",
}
"""Arguments of `vllm.LLM` that have an option."""


class VllmSamplingArguments(PluginArguments):
    """Fields of `vllm.SamplingParams`."""

    presence_penalty: float | None = argument(None, "Subtracted from the logits of tokens of the completion.")
    frequency_penalty: float | None = argument(None, "The same for every time that the completion has the token.")
    min_tokens: int | None = argument(None, "No end-of-turn token before this number of tokens.", ge=0)
    logit_bias: dict[int, float] | None = argument(None, "Added to the logit of a token ID: logit_bias.42=-100.")
    allowed_token_ids: JsonList[int] | None = argument(None, "The only token IDs that are sampled, as a JSON list.")


class VllmArguments(FreeArguments):
    """The usual arguments of `vllm.LLM`, with vLLM's defaults. Every other one is passed on as well."""

    max_num_seqs: int | None = argument(None, "Sequences that run at once.", ge=1)
    max_num_batched_tokens: int | None = argument(None, "Tokens of one step, over all sequences.", ge=1)
    kv_cache_memory_bytes: int | None = argument(None, "Size of the KV cache in bytes.", ge=1)
    enforce_eager: bool | None = argument(None, "Do not compile the model or capture CUDA graphs.")

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: dict[str, object]) -> dict[str, object]:
        refuse_reserved(given, OPTIONS)
        return given


class VllmEngine(Engine):
    """Samples with vLLM in this process.

    Every further argument is passed on to `vllm.LLM`, as JSON where it is JSON, e.g. `block_size=16`.
    """

    Arguments = VllmArguments
    SamplingArguments = VllmSamplingArguments
    sampling_options = SAMPLING_OPTIONS
    reloads = True

    def __init__(self, options: EngineOptions, arguments: VllmArguments) -> None:
        """Start vLLM.

        Raises:
            UsageError: vLLM refuses an argument.
            InputError: vLLM cannot load the model, or the adapter.
        """
        options = options.resolved()
        given = arguments.given()
        if options.adapter is not None:
            check_adapter(options.model, options.adapter)
        self._process = VllmProcess(
            llm_arguments(options, arguments), given, "engine_arg", options.model, options.device, is_alone=True
        )
        dtype = self._process.llm.llm_engine.vllm_config.model_config.dtype
        self._precision = Precision(options.device, str(dtype).removeprefix("torch."))
        self._names = map(str, count())
        self._returns_behavior = False
        self._adapter = self._loaded(options.adapter)
        self._max_num_seqs = int(self._process.llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Keeps twice as many sequences in flight as vLLM runs at once, across the boundaries of parts."""
        engine = self._process.llm.llm_engine
        self._returns_behavior = self._install_behavior_logprobs(sampling)
        pending = (request for part in parts for request in part)
        in_flight: dict[str, Request] = {}
        with DeathWatch(engine):
            while True:
                while sum(request.num_samples for request in in_flight.values()) < 2 * self._max_num_seqs:
                    request = next(pending, None)
                    if request is None:
                        break
                    name = next(self._names)
                    in_flight[name] = request
                    self._add(name, request, sampling)
                if not in_flight:
                    return
                # an earlier call that was interrupted may have left requests in the engine
                finished = [output for output in self._step() if output.finished and output.request_id in in_flight]
                if finished:
                    yield [_sampled_group(in_flight.pop(output.request_id), output) for output in finished]

    def precision(self) -> Precision:
        return self._precision

    def reload(self, options: EngineOptions) -> bool:
        """An adapter, or weights that vLLM quantizes, are loaded by a new engine."""
        if options.adapter is not None or options.quantization is not None:
            return False
        try:
            self._process.llm.collective_rpc("take_weights", args=(options.model,))
            return bool(self._process.llm.reset_prefix_cache())
        except Exception:  # whatever vLLM meets in the files: a new engine says what it is
            return False

    def rest(self) -> bool:
        return self._process.rest()

    def wake(self) -> None:
        self._process.wake()

    def close(self) -> None:
        self._process.close()

    def _install_behavior_logprobs(self, sampling: Sampling) -> bool:
        """Whether requests can have the log-probs of the distribution that is sampled from, and need them."""
        if sampling.is_policy or sampling.temperature == 0.0:
            return False
        with death_as_failure("The vLLM engine", REMEDY):
            return all(self._process.llm.collective_rpc("install_behavior_logprobs"))

    def _loaded(self, adapter: str | None) -> object:
        """The request for an adapter, which vLLM has loaded: it would end its process if that failed while it samples.

        Raises:
            InputError: vLLM refuses the adapter.
        """
        if adapter is None:
            return None
        request = require("vllm.lora.request").LoRARequest("policy", 1, adapter)
        try:
            self._process.llm.llm_engine.add_lora(request)
        except Exception as error:  # vLLM passes on whatever was raised, as a plain Exception
            self.close()
            raise InputError(_refused(adapter, error)) from error
        return request

    def _add(self, name: str, request: Request, sampling: Sampling) -> None:
        vllm = require("vllm")
        parameters = vllm.SamplingParams(
            **sampling.arguments.model_dump(exclude_unset=True),
            n=request.num_samples if sampling.temperature > 0 else 1,  # greedy samples are equal; vLLM refuses n > 1
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=request.max_new_tokens,
            seed=request.seed,
            stop_token_ids=list(sampling.stop_token_ids),
            logprobs=int(self._returns_behavior),  # see vllm_behavior
            stop=list(sampling.stop),
            detokenize=bool(sampling.stop),
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        prompt = require("vllm.inputs").tokens_input(request.prompt_token_ids)
        with death_as_failure("The vLLM engine", REMEDY):
            self._process.llm.llm_engine.add_request(name, prompt, parameters, lora_request=self._adapter)

    def _step(self) -> "list[RequestOutput]":
        with death_as_failure("The vLLM engine", REMEDY):
            return list(self._process.llm.llm_engine.step())


def llm_arguments(options: EngineOptions, arguments: VllmArguments) -> dict[str, object]:
    """The keyword arguments of `vllm.LLM`. `options` are resolved.

    Raises:
        UsageError: the adapter's rank is too large.
        InputError: vLLM does not support the adapter.
    """
    values: dict[str, Any] = {
        "model": options.model,
        "runner": "generate",
        "dtype": options.dtype,
        "max_model_len": options.context_length,
        "logprobs_mode": "raw_logprobs",
        "skip_tokenizer_init": not options.reads_text,
        "generation_config": "vllm",
        "enable_prefix_caching": True,
        "tensor_parallel_size": options.tensor_parallel_size,
        "quantization": options.quantization,
    }
    if options.gpu_memory_utilization is not None:
        values["gpu_memory_utilization"] = options.gpu_memory_utilization
    if options.adapter is not None:
        values |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _lora_rank(options.adapter)}
    if options.device == "cpu":
        values |= cpu_defaults(options.context_length)
    return values | arguments.given()


def _lora_rank(adapter: str) -> int:
    """The smallest rank that vLLM supports and that all layers of the adapter fit in."""
    try:
        helper = require("vllm.lora.peft_helper").PEFTHelper.from_local_dir(adapter, None)
        rank = max([helper.r, *helper.rank_pattern.values()])
        supported = [size for size in LORA_RANKS if size >= rank]
        if not supported:
            raise UsageError(f"{adapter} has rank {rank}; vLLM supports {LORA_RANKS[-1]} at most.", option="adapter")
        helper.validate_legal(SimpleNamespace(max_lora_rank=supported[0]))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(_refused(adapter, error)) from error
    return supported[0]


def _refused(adapter: str, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".")
    return f"vLLM cannot use the adapter {adapter}: {reason}. Use --engine transformers, or merge it into its base."


def _sampled_group(request: Request, output: "RequestOutput") -> SampledGroup:
    samples = []
    for completion in sorted(output.outputs, key=lambda completion: completion.index):
        ids = list(completion.token_ids)
        logprobs = [position[token].logprob for position, token in zip(completion.logprobs, ids, strict=True)]
        behavior = [
            other.logprob
            for position, token in zip(completion.logprobs, ids, strict=True)
            for name, other in position.items()
            if name != token
        ]
        reason: FinishReason = completion.finish_reason if completion.finish_reason in ("stop", "length") else "abort"
        known = behavior if len(behavior) == len(ids) else None
        samples.append(Sample(ids, logprobs, reason, behavior_logprobs=known))
    copies = request.num_samples // len(samples)  # more than one where sampling is greedy
    return SampledGroup(request.key, samples * copies)
