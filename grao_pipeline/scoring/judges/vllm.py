"""A judge in this process, through vLLM."""

import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Any, ClassVar, get_args

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.models.chat import chat_template
from grao_pipeline.models.devices import resolve_device, resolve_dtype
from grao_pipeline.models.source import load_config, load_tokenizer, locate_model
from grao_pipeline.models.vllm_process import (
    DeathWatch,
    close_llm,
    cpu_defaults,
    death_as_failure,
    open_llm,
)
from grao_pipeline.options import Dtype
from grao_pipeline.plugins import require
from grao_pipeline.scoring.judges.base import ChatModelOptions, Question, Reply, free_values
from grao_pipeline.scoring.judges.control_tokens import neutralise

REMEDY = "if need be with --reward-arg vllm.gpu_memory_utilization=… or vllm.max_num_seqs=… lowered"
SETTINGS: Mapping[str, Any] = {
    "runner": "generate",
    "generation_config": "vllm",
    "enable_prefix_caching": True,
    # A grammar that allows white space allows it without end.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}
WHITE_SPACE = " \t\r\n▁"
"""And what SentencePiece writes for it."""
RESERVED = ("model", "tokenizer", "dtype", "max_model_len", "runner", "skip_tokenizer_init", "generation_config")
RESERVED_IN_TEMPLATES = ("conversation", "messages", "chat_template", "add_generation_prompt", "tokenize", "tools")
# They say how fast a judge is, not what it says; every other argument of vLLM is part of the scores' fingerprint.
HARDWARE = (
    "block_size",
    "disable_custom_all_reduce",
    "disable_log_stats",
    "enable_prefix_caching",
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_num_batched_tokens",
    "max_num_seqs",
    "pipeline_parallel_size",
    "tensor_parallel_size",
)


class VllmChatModel:
    """A model directory or hub id, loaded when the first question is asked, under its own chat template.

    Arguments: model (required); dtype (auto); max_model_len: the model's positions, where not given;
    vllm.KEY=value: an argument of `vllm.LLM`, e.g. `vllm.tensor_parallel_size=2`; template.KEY=value: a variable of the
    chat template, e.g. `template.enable_thinking=false`. Values are read as JSON where they are JSON.

    Raises:
        InputError: there is no such model.
        UsageError: an argument that cannot work.
    """

    ARGUMENTS: ClassVar[Mapping[str, str | None]] = {"model": None, "dtype": "auto", "max_model_len": ""}
    PREFIXES: ClassVar[Sequence[str]] = ("vllm", "template")

    def __init__(self, options: ChatModelOptions) -> None:
        arguments = options.arguments
        self._name = arguments["model"]
        self._source = locate_model(self._name)
        self._dtype = arguments["dtype"]
        self._max_tokens = options.max_tokens
        self._device = options.device
        self._context_length = self._positions(arguments["max_model_len"])
        self._template_variables = free_values(arguments, "template")
        self._engine_arguments = free_values(arguments, "vllm")
        reserved = [f"vllm.{key}" for key in RESERVED] + [f"template.{key}" for key in RESERVED_IN_TEMPLATES]
        for name in sorted(arguments.keys() & set(reserved)):
            raise UsageError(f"--reward-arg {name}: the judge sets it itself.")
        if self._dtype not in get_args(Dtype):
            raise UsageError(f"--reward-arg dtype={self._dtype}: expected {', '.join(get_args(Dtype))}.")
        self._names = count()
        self._close: weakref.finalize[..., Any] | None = None

    def identity(self) -> Mapping[str, Any]:
        return {
            "model": self._source.fingerprint,
            "tokenizer": self._source.tokenizer,
            "dtype": self._dtype,
            "max_model_len": self._context_length,
            "template": self._template_variables,
            "vllm": {key: value for key, value in self._engine_arguments.items() if key not in HARDWARE},
        }

    def neutralise(self, text: str) -> str:
        """Takes apart every added token of the model's tokenizer, and checks that none is left."""
        tokens, ids = self._control_tokens
        safe = neutralise(text, tokens)
        if not ids.isdisjoint(self._tokenizer.encode(safe, add_special_tokens=False)):
            raise InputError(f"a text holds a control token of {self._name} that cannot be taken apart")
        return safe

    def encode(self, question: Question) -> list[int]:
        """Token ids of a question, up to where the answer begins.

        Raises:
            InputError: the chat template refuses it.
        """
        jinja = require("jinja2")
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in question.messages],
                chat_template=chat_template(self._tokenizer),
                add_generation_prompt=True,
                tokenize=False,
                **self._template_variables,
            )
        except jinja.TemplateError as error:
            roles = ", ".join(message["role"] for message in question.messages)
            raise InputError(
                f"the judge's chat template fails on a conversation of {roles}: {error} "
                "(where it takes no system role: --reward-arg system_role=false)"
            ) from error
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        """Keeps twice as many questions in flight as vLLM runs at once."""
        numbered = enumerate(questions)
        in_flight: dict[str, int] = {}
        waiting = next(numbered, None)
        if waiting is None:
            return
        engine = self._llm.llm_engine
        most = 2 * int(engine.vllm_config.scheduler_config.max_num_seqs)
        with DeathWatch(engine), death_as_failure("The judge's vLLM engine", REMEDY):
            try:
                while waiting is not None or in_flight:
                    while waiting is not None and len(in_flight) < most:
                        number, question = waiting
                        problem = self._add(name := f"judge-{next(self._names)}", question)
                        if problem is None:
                            in_flight[name] = number
                        else:
                            yield number, problem
                        waiting = next(numbered, None)
                    for output in engine.step() if in_flight else ():
                        if output.finished:
                            yield in_flight.pop(output.request_id), _reply(output)
            finally:
                if in_flight:
                    engine.abort_request(list(in_flight))

    def close(self) -> None:
        if self._close is not None:
            self._close()
            del self._llm
            self._close = None

    def _add(self, name: str, question: Question) -> Reply | None:
        """Put a question to the engine, or say why that cannot be done."""
        vllm = require("vllm")
        try:
            ids = self.encode(question)
        except InputError as error:
            return Reply(str(error), "error")
        if len(ids) + self._max_tokens > self._context_length:
            room = f"the judge reads {self._context_length} and needs {self._max_tokens} of them to answer"
            return Reply(f"the question is {len(ids)} tokens long; {room}", "error")
        parameters = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=self._max_tokens,
            structured_outputs=vllm.sampling_params.StructuredOutputsParams(json=dict(question.schema)),
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        self._llm.llm_engine.add_request(name, require("vllm.inputs").tokens_input(ids), parameters)
        return None

    def _positions(self, given: str) -> int:
        """The longest conversation, in tokens."""
        text_config = load_config(self._source).get_text_config()
        limit: int | None = getattr(text_config, "max_position_embeddings", None)
        if given:
            if not given.isdecimal() or not 0 < int(given) <= (limit or int(given)):
                raise UsageError(f"--reward-arg max_model_len={given}: the model's positions end at {limit}.")
            return int(given)
        if limit is None:
            raise UsageError(f"{self._name} does not say how much it reads. Give --reward-arg max_model_len=…")
        return limit

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._source)

    @cached_property
    def _control_tokens(self) -> tuple[list[str], set[int]]:
        """The tokenizer's added tokens (but for white space, which some add), and the ids of the special ones. The
        unknown token is none of them: it stands for rare characters, not for its own name.
        """
        added = self._tokenizer.added_tokens_decoder
        words = {number: token for number, token in added.items() if token.content.strip(WHITE_SPACE)}
        special = {number for number, token in words.items() if token.special} | set(self._tokenizer.all_special_ids)
        names = [token.content for token in words.values() if len(token.content) > 1]
        return names, special - {self._tokenizer.unk_token_id}

    @cached_property
    def _llm(self) -> Any:
        device = resolve_device(self._device)
        arguments = dict(SETTINGS) | {
            "model": str(self._source.directory),
            "dtype": resolve_dtype(self._dtype, device),
            "max_model_len": self._context_length,
        }
        if device == "cpu":
            arguments |= cpu_defaults(self._context_length)
        given = self._engine_arguments
        llm, guard = open_llm(arguments | given, given, "reward_arg", f"the judge {self._name}", device)
        self._close = weakref.finalize(self, close_llm, llm, guard)
        return llm


def _reply(output: Any) -> Reply:
    [completion] = output.outputs
    tokens = (len(output.prompt_token_ids), len(completion.token_ids))
    if completion.finish_reason == "length":
        return Reply.cut_off(completion.text, *tokens)
    if completion.finish_reason != "stop":
        return Reply(f"vLLM ended the reply: {completion.finish_reason}", "error", *tokens)
    return Reply(completion.text, "ok", *tokens)
