"""A judge in this process, through vLLM."""

from collections.abc import Generator, Iterable, Mapping
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PositiveInt

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.models.devices import resolve_device, resolve_dtype
from grao_pipeline.models.source import load_config, load_tokenizer, locate_model
from grao_pipeline.models.templates import RefusedConversation, chat_template, render
from grao_pipeline.models.vllm_process import DeathWatch, VllmProcess, cpu_defaults, death_as_failure
from grao_pipeline.options import Dtype
from grao_pipeline.plugins import require
from grao_pipeline.residence import RESIDENCE
from grao_pipeline.scoring.engine_arguments import (
    VLLM_MEMORY_REMEDY,
    num_devices,
    shaping_vllm_arguments,
    vllm_arguments,
    without_keys,
)
from grao_pipeline.scoring.judges.base import ChatModel, ChatModelOptions, Question, Reply
from grao_pipeline.scoring.judges.control_tokens import neutralize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm import LLM, RequestOutput

SETTINGS: Mapping[str, Any] = {
    "runner": "generate",
    "generation_config": "vllm",
    "enable_prefix_caching": True,
    # A grammar that allows white space allows an endless amount of it.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}
WHITE_SPACE = " \t\r\n▁"
"""Including the sign that SentencePiece writes for it."""
OWN_ARGUMENTS = {"model": "model=…", "dtype": "dtype=…", "max_model_len": "max_model_len=…"}
RESERVED_IN_TEMPLATES = ("conversation", "messages", "chat_template", "add_generation_prompt", "tokenize", "tools")


class VllmChatModel(ChatModel):
    """Asks a model in this process with vLLM, under the model's chat template; it is loaded at the first question.

    Raises:
        InputError: the model does not exist.
        UsageError: an argument cannot work.
    """

    class Arguments(PluginArguments):
        model: str = argument(..., "Model directory or Hub ID.", examples=["MODEL"])
        dtype: Dtype = argument("auto", "Precision of the weights.")
        max_model_len: PositiveInt | None = argument(
            None, "Longest conversation including the reply, in tokens; default: all positions of the model."
        )
        vllm: Annotated[dict[str, Any], vllm_arguments(OWN_ARGUMENTS)] = argument(
            {}, "vllm.KEY=value: an argument of `vllm.LLM`, e.g. vllm.tensor_parallel_size=2."
        )
        template: Annotated[dict[str, Any], without_keys("template", RESERVED_IN_TEMPLATES)] = argument(
            {}, "template.KEY=value: a variable of the chat template, e.g. template.enable_thinking=false."
        )

    arguments: Arguments

    def __init__(self, arguments: Arguments, options: ChatModelOptions) -> None:
        super().__init__(arguments, options)
        self._source = locate_model(arguments.model)
        self._context_length = self._positions()
        self._names = count()

    def num_devices(self) -> int:
        return num_devices(self.arguments.vllm)

    def identity(self) -> Mapping[str, object]:
        return {
            "model": self._source.fingerprint,
            "tokenizer": self._source.tokenizer,
            "dtype": self.arguments.dtype,
            "max_model_len": self._context_length,
            "template": self.arguments.template,
            "vllm": shaping_vllm_arguments(self.arguments.vllm),
        }

    def neutralize(self, text: str) -> str:
        """Breaks up every added token of the model's tokenizer, and checks that none is left."""
        tokens, ids = self._control_tokens
        safe = neutralize(text, tokens)
        if not ids.isdisjoint(self._tokenizer.encode(safe, add_special_tokens=False)):
            raise InputError(f"A text contains a control token of {self.arguments.model} that cannot be broken up.")
        return safe

    def encode(self, question: Question) -> list[int]:
        """Token ids of a question, up to where the answer begins.

        Raises:
            InputError: the chat template fails on it.
        """
        template, variables = chat_template(self._tokenizer), self.arguments.template
        try:
            text = render(self._tokenizer, template, question.messages, generation=True, variables=variables)
        except RefusedConversation as error:
            raise InputError(
                f"The judge: {error} (if its template has no system role, give --reward-arg system_role=false)."
            ) from error
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        """Keeps twice as many questions in flight as vLLM processes at once."""
        numbered = enumerate(questions)
        in_flight: dict[str, int] = {}
        waiting = next(numbered, None)
        if waiting is None:
            return
        engine = self._llm.llm_engine
        max_in_flight = 2 * int(engine.vllm_config.scheduler_config.max_num_seqs)
        with DeathWatch(engine), death_as_failure("The judge's vLLM engine", VLLM_MEMORY_REMEDY):
            try:
                while waiting is not None or in_flight:
                    while waiting is not None and len(in_flight) < max_in_flight:
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
        if "_process" in vars(self):
            RESIDENCE.leave(self._resident, self._process)
            del self._process

    def _add(self, name: str, question: Question) -> Reply | None:
        """Pass a question to the engine; returns the reply if it cannot be asked."""
        vllm = require("vllm")
        try:
            ids = self.encode(question)
        except InputError as error:
            return Reply(str(error), "error")
        max_tokens = self.options.max_tokens
        if len(ids) + max_tokens > self._context_length:
            room = f"the judge reads {self._context_length} and needs {max_tokens} of them to answer"
            return Reply(f"the question is {len(ids)} tokens long; {room}", "error")
        parameters = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            structured_outputs=vllm.sampling_params.StructuredOutputsParams(json=dict(question.schema)),
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        self._llm.llm_engine.add_request(name, require("vllm.inputs").tokens_input(ids), parameters)
        return None

    def _positions(self) -> int:
        """The longest conversation including the reply, in tokens."""
        text_config = load_config(self._source).get_text_config()
        limit: int | None = getattr(text_config, "max_position_embeddings", None)
        given = self.arguments.max_model_len
        if given is None and limit is None:
            message = f"The config of {self.arguments.model} has no context length. Give max_model_len=…."
            raise UsageError(message, option="reward_arg")
        if given is not None and limit is not None and given > limit:
            raise UsageError(f"max_model_len={given}: the model's positions end at {limit}.", option="reward_arg")
        return int(given or limit or 0)

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        return load_tokenizer(self._source)

    @cached_property
    def _control_tokens(self) -> tuple[list[str], set[int]]:
        """(the tokenizer's added tokens, the ids of the special ones), without added white space. The unknown token is
        left out: it stands for rare characters, not for its name.
        """
        added = self._tokenizer.added_tokens_decoder
        words = {number: token for number, token in added.items() if token.content.strip(WHITE_SPACE)}
        special = {number for number, token in words.items() if token.special} | set(self._tokenizer.all_special_ids)
        names = [token.content for token in words.values() if len(token.content) > 1]
        return names, special - {self._tokenizer.unk_token_id}

    @property
    def _llm(self) -> "LLM":
        return self._process.llm

    @property
    def _resident(self) -> str:
        """The name under which the engine stays."""
        return f"judge {fingerprint([dict(self.identity()), self.arguments.vllm, self.options.device])}"

    @cached_property
    def _process(self) -> VllmProcess:
        resident = RESIDENCE.take(self._resident)
        if isinstance(resident, VllmProcess):
            return resident
        device = resolve_device(self.options.device)
        arguments = dict(SETTINGS) | {
            "model": str(self._source.directory),
            "dtype": resolve_dtype(self.arguments.dtype, device),
            "max_model_len": self._context_length,
        }
        if device == "cpu":
            arguments |= cpu_defaults(self._context_length)
        given = self.arguments.vllm
        return VllmProcess(arguments | given, given, "reward_arg", f"the judge {self.arguments.model}", device)


def _reply(output: "RequestOutput") -> Reply:
    [completion] = output.outputs
    tokens = (len(output.prompt_token_ids), len(completion.token_ids))
    if completion.finish_reason == "length":
        return Reply.cut_off(completion.text, *tokens)
    if completion.finish_reason != "stop":
        return Reply(f"vLLM ended the reply: {completion.finish_reason}", "error", *tokens)
    return Reply(completion.text, "ok", *tokens)
