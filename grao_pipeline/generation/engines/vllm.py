"""The vLLM engine: requests are streamed into one `LLM`, finished groups come out as they end."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.generation.engines.base import EngineOptions, Request, Sample, SampledGroup, Sampling
from grao_pipeline.models.vllm_process import (
    DeathWatch,
    close_llm,
    cpu_defaults,
    death_as_failure,
    open_llm,
    parse_value,
)
from grao_pipeline.plugins import require

REMEDY = "if need be with --gpu-memory-utilization or --engine-arg max_num_seqs=… lowered"
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# What the groups table says of itself rests on these; the first have an option of their own.
RESERVED = {
    "model": "--model",
    "dtype": "--dtype",
    "max_model_len": "--max-model-len",
    "tensor_parallel_size": "--tensor-parallel-size",
    "quantization": "--quantization",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "enable_lora": "--adapter",
    "logprobs_mode": None,
    "skip_tokenizer_init": None,
    "generation_config": None,
}


class VllmEngine:
    """Samples with vLLM in this process.

    `--engine-arg key=value` reaches the arguments of `vllm.LLM`; values are read as JSON where they are JSON.

    Raises:
        UsageError: vLLM refuses an argument.
        InputError: vLLM cannot load the model.
    """

    def __init__(self, options: EngineOptions) -> None:
        options = options.resolved()
        arguments = engine_arguments(options)
        self._llm, self._guard = open_llm(arguments, options.arguments, "--engine-arg", options.model, options.device)
        self._names = map(str, count())
        self._adapter = _lora_request(options.adapter)
        self._max_num_seqs = int(self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Keeps twice as many sequences in flight as vLLM runs at once, across the borders of parts."""
        engine = self._llm.llm_engine
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
                # what an earlier call that was broken off left in the engine is not ours
                finished = [output for output in self._step() if output.finished and output.request_id in in_flight]
                if finished:
                    yield [_sampled_group(in_flight.pop(output.request_id), output) for output in finished]

    def close(self) -> None:
        close_llm(self._llm, self._guard)
        del self._llm

    def _add(self, name: str, request: Request, sampling: Sampling) -> None:
        vllm = require("vllm")
        parameters = vllm.SamplingParams(
            n=request.num_samples if sampling.temperature > 0 else 1,  # vLLM refuses more; they would be equal
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=request.max_new_tokens,
            seed=request.seed,
            stop_token_ids=list(sampling.stop_token_ids),
            logprobs=0,
            detokenize=False,
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        prompt = require("vllm.inputs").tokens_input(request.prompt_token_ids)
        with death_as_failure("The vLLM engine", REMEDY):
            self._llm.llm_engine.add_request(name, prompt, parameters, lora_request=self._adapter)

    def _step(self) -> list[Any]:
        with death_as_failure("The vLLM engine", REMEDY):
            return list(self._llm.llm_engine.step())


def engine_arguments(options: EngineOptions) -> dict[str, Any]:
    for name in RESERVED.keys() & options.arguments.keys():
        instead = f"Use {RESERVED[name]}." if RESERVED[name] else "The groups table depends on its value."
        raise UsageError(f"--engine-arg {name}: cannot be set here. {instead}")
    arguments: dict[str, Any] = {
        "model": options.model,
        "runner": "generate",
        "dtype": options.dtype,
        "max_model_len": options.context_length,
        "logprobs_mode": "raw_logprobs",
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "enable_prefix_caching": True,
        "tensor_parallel_size": options.tensor_parallel_size,
        "quantization": options.quantization,
    }
    if options.gpu_memory_utilization is not None:
        arguments["gpu_memory_utilization"] = options.gpu_memory_utilization
    if options.adapter is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _lora_rank(options.adapter)}
    if options.device == "cpu":
        arguments |= cpu_defaults(options.context_length)
    return arguments | {key: parse_value(value) for key, value in options.arguments.items()}


def _lora_rank(adapter: str) -> int:
    """The smallest rank that vLLM knows and that holds the adapter's."""
    rank = int(json.loads(Path(adapter, "adapter_config.json").read_text("utf-8"))["r"])
    fitting = [known for known in LORA_RANKS if known >= rank]
    if not fitting:
        raise UsageError(f"--adapter {adapter} has rank {rank}; vLLM takes {LORA_RANKS[-1]} at most.")
    return fitting[0]


def _lora_request(adapter: str | None) -> Any:
    return None if adapter is None else require("vllm.lora.request").LoRARequest("policy", 1, adapter)


def _sampled_group(request: Request, output: Any) -> SampledGroup:
    samples = []
    for completion in sorted(output.outputs, key=lambda completion: completion.index):
        ids = list(completion.token_ids)
        logprobs = [position[token].logprob for position, token in zip(completion.logprobs, ids, strict=True)]
        reason = completion.finish_reason if completion.finish_reason in ("stop", "length") else "abort"
        samples.append(Sample(ids, logprobs, reason))
    copies = request.num_samples // len(samples)  # of the only sample, where sampling is greedy
    return SampledGroup(request.key, samples * copies)
