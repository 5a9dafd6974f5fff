"""Options of `grao generate`."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from grao_pipeline.models.server_defaults import CONCURRENCY, REQUEST_TIMEOUT, RETRIES
from grao_pipeline.models.templates import (
    CHAT_TEMPLATE_HELP,
    DEFAULT_DATE,
    REFERENCE_REASONING_HELP,
    TEMPLATE_ARG_HELP,
    TEMPLATE_DATE_HELP,
    TemplateDate,
)
from grao_pipeline.options import Device, Dtype, KeyValues, Processes, option, runtime
from grao_pipeline.ray_cluster import RAY_ADDRESS_HELP, RayStageOptions

MOST_SAMPLES = 100_000
"""Of a prompt: a group is one row, and in memory as a whole."""


class GenerateOptions(RayStageOptions):
    """`grao generate`: prompts → groups."""

    help_sections: ClassVar[Mapping[str, str]] = {
        "samples": "Sampling",
        "dtype": "Engine",
        "base_url": "Server (--engine openai)",
        "processes": "Several processes",
    }
    first_options: ClassVar[tuple[str, ...]] = ("model", "engine", "samples", "max_new_tokens", "temperature", "limit")

    engine: str = runtime(
        "auto",
        "auto (vllm where it is installed, else transformers), vllm, transformers, openai (a server, see --base-url), "
        "or yours as package.module:Class.",
        plugin="engine",
    )
    model: str = runtime(
        "",
        "Policy to sample from: a Hugging Face model directory or hub id. Only --engine openai --api chat does "
        "without: it samples texts, without token IDs, from --served-model.",
        validate_default=True,
    )
    adapter: str | None = runtime(None, "LoRA adapter (peft) on top of the model: a directory or hub id.")
    samples: int = option(8, "Samples per prompt (G).", ge=1, le=MOST_SAMPLES)
    limit: int | None = option(None, "Sample from the first N prompts of the table only.", ge=1)
    samples_field: str | None = option(
        None, "Key of the prompts' metadata that holds the number of samples, for prompts that have it."
    )
    samples_file: str | None = runtime(
        None, "JSONL, CSV or Parquet file with columns prompt_id and samples, for the prompts that it lists."
    )
    extend: str | None = runtime(
        None, "Groups table to add samples to: OUT gets its samples, unchanged, followed by --samples new ones."
    )
    temperature: float = option(0.7, "Sampling temperature; 0 is greedy.", ge=0.0)
    top_p: float = option(1.0, "Nucleus sampling: smallest set of tokens with this probability.", gt=0.0, le=1.0)
    top_k: int = option(0, "Sample from the K most likely tokens only; 0: from all.", ge=0)
    min_p: float = option(
        0.0, "Sample only tokens with at least this share of the most likely token's probability.", ge=0.0, le=1.0
    )
    repetition_penalty: float = option(
        1.0, "Penalty on tokens that the prompt or the completion has: above 1 makes them less likely; 1: none.", gt=0.0
    )
    stop: list[str] = option(
        [], "Text that ends a completion, e.g. for a base model; it is not part of the completion's text. Repeatable."
    )
    sampling_arg: KeyValues = option(
        [], "Further sampling argument of the engine as key=value, e.g. presence_penalty=0.5. Repeatable."
    )
    use_generation_config: bool = option(
        False,
        "Take temperature, top-p, top-k, min-p and repetition penalty from the model's generation_config.json where "
        "they are not given.",
    )
    max_new_tokens: int = option(2048, "Longest completion, in tokens.", ge=1, le=2**20)
    seed: int = option(0, "Seed of the run; the seed of every prompt is derived from it.", ge=0)
    round: int = option(0, "Number of the round, stored with every group.", ge=0)
    chat_template: str | None = option(None, CHAT_TEMPLATE_HELP)
    template_arg: KeyValues = option([], TEMPLATE_ARG_HELP)
    template_date: TemplateDate = option(DEFAULT_DATE, TEMPLATE_DATE_HELP)
    on_template_error: Literal["stop", "skip"] = runtime(
        "stop", "Prompts on which the chat template fails: stop before anything is sampled, or leave them out."
    )
    reference_reasoning: Literal["required", "empty", "none"] = option("required", REFERENCE_REASONING_HELP)
    dtype: Dtype = option("auto", "Precision of the policy; auto is float32 on CPU and the checkpoint's on GPU.")
    quantization: str | None = option(None, "vLLM's quantization method, if the checkpoint does not name one.")
    prompts_per_part: int = option(64, "Prompts per part: the unit of commit and of resume.", ge=1)
    max_model_len: int | None = option(
        None, "Longest prompt plus completion, in tokens; the model's number of positions by default.", ge=2
    )
    engine_arg: KeyValues = option([], "Argument of the engine as key=value, e.g. max_num_seqs=64. Repeatable.")
    tensor_parallel_size: int = runtime(1, "GPUs that vLLM splits the model over.", ge=1)
    gpu_memory_utilization: float | None = runtime(
        None, "Share of the GPU's memory for vLLM; 0.92, vLLM's default, if not given.", gt=0.0, le=1.0
    )
    device: Device = runtime("auto", "Device of the transformers and vllm engines.")
    batch_size: int = runtime(32, "Prompts that the transformers engine samples together.", ge=1)
    base_url: str | None = runtime(
        None, "OpenAI-compatible server of --engine openai, e.g. http://localhost:8000/v1. Key: OPENAI_API_KEY."
    )
    served_model: str | None = runtime(None, "The model's name on that server; not needed if it serves only one.")
    concurrency: int = runtime(CONCURRENCY, "Requests in flight at the server.", ge=1, le=1000)
    retries: int = runtime(
        RETRIES,
        "Further tries of a failed request, after 0.5, 1, 2, 4, then every 8 s: 10 last a minute, 60 a restart.",
        ge=0,
    )
    request_timeout: float = runtime(REQUEST_TIMEOUT, "Seconds after which a request is tried again.", gt=0.0)
    api: Literal["auto", "completions", "chat"] = option(
        "auto",
        "The server's API: completions (token IDs), chat (text alone, for references and judging), or auto: "
        "completions where the server has them, else chat.",
    )
    requests_per_minute: float | None = runtime(None, "Send the server at most this many requests a minute.", gt=0.0)
    tokens_per_minute: float | None = runtime(
        None, "Send the server at most this many tokens a minute, completions included.", gt=0.0
    )
    allow_retokenize: bool = option(
        False, "Make token ids from text if the server returns none; such rows are marked and have no log-probs."
    )
    processes: Processes = runtime(
        "auto",
        "Processes on this machine, each with its own engine on --tensor-parallel-size GPUs and its own share of the "
        "parts; auto: one for every GPU or set of GPUs, else 1.",
    )
    worker: str | None = runtime(
        None, "i/N: make only the parts whose number is i modulo N. The last of the N workers writes the manifest."
    )
    executor: Literal["local", "ray"] = runtime(
        "local", "Where engines run: in this process, or in actors on a Ray cluster."
    )
    actors: int = runtime(1, "Engines on the Ray cluster.", ge=1)
    ray_address: str | None = runtime(None, RAY_ADDRESS_HELP)
    actor_gpus: float | None = runtime(
        None, "GPUs per actor; by default --tensor-parallel-size where the cluster has GPUs, else 0.", ge=0.0
    )

    @field_validator("model")
    @classmethod
    def _model_is_given(cls, model: str, info: ValidationInfo) -> str:
        """Only an engine that samples through a server can do without."""
        if not model and info.data.get("engine") != "openai":
            raise PydanticCustomError("missing", "field required")
        return model

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: list[str]) -> list[str]:
        if "" in stop:
            raise ValueError("a stop string needs at least one character")
        return stop
