"""Sequence classifiers through vLLM's pooling runner, in which the samples of a group share their prompt."""

import itertools
import weakref
from collections.abc import Generator, Sequence
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.models.vllm_process import (
    CPU_DEFAULTS,
    DeathWatch,
    close_llm,
    death_as_failure,
    open_llm,
    parse_value,
)
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.reward_model.base import ClassifierOptions

REMEDY = "if need be with --reward-arg vllm.gpu_memory_utilization=… or vllm.max_num_seqs=… lowered"
# What the scores rest on; the first have an argument of their own.
RESERVED = {
    "model": "model",
    "dtype": "dtype",
    "max_model_len": "max_length",
    "runner": None,
    "convert": None,
    "pooler_config": None,
}


class VllmClassifier:
    """`vllm.LLM` as a classifier in this process; its engine ends when this object, or the process, does.

    Raises:
        UsageError: vLLM refuses an argument.
        InputError: vLLM cannot load the model.
    """

    def __init__(self, options: ClassifierOptions) -> None:
        arguments = _engine_arguments(options)
        name = str(options.directory)
        self._llm, guard = open_llm(arguments, options.arguments, "reward_arg", name, options.device)
        weakref.finalize(self, close_llm, self._llm, guard)
        config = self._llm.llm_engine.vllm_config.model_config
        self.max_length: int | None = int(config.max_model_len)
        reads_last_token = config.pooler_config.seq_pooling_type == "LAST"
        self._pad_token_id = config.hf_text_config.pad_token_id if reads_last_token else None
        self._names = map(str, itertools.count())

    def logits(self, rows: Sequence[Sequence[int]]) -> Generator[tuple[int, list[float]], None, None]:
        """Rows go in in their order, so that those that begin alike find what is cached of each other."""
        parameters = require("vllm").PoolingParams(task="classify", use_activation=False)
        prompt = require("vllm.inputs").tokens_input
        engine = self._llm.llm_engine
        in_flight: dict[str, int] = {}
        with death_as_failure("The reward model's vLLM engine", REMEDY), DeathWatch(engine):
            for index, row in enumerate(rows):
                name = next(self._names)
                in_flight[name] = index
                engine.add_request(name, prompt(self._without_padding(row)), parameters)
            while in_flight:
                for output in engine.step():
                    if output.request_id in in_flight:  # not of an earlier call that was broken off
                        yield in_flight.pop(output.request_id), output.outputs.data.float().tolist()

    def _without_padding(self, row: Sequence[int]) -> list[int]:
        """A row without padding tokens at its end: the head of such a model reads the last token that is none; vLLM
        takes the very last.
        """
        end = len(row)
        while end > 1 and row[end - 1] == self._pad_token_id:
            end -= 1
        return list(row[:end])


def _engine_arguments(options: ClassifierOptions) -> dict[str, Any]:
    for name in RESERVED.keys() & options.arguments.keys():
        instead = f"Use --reward-arg {RESERVED[name]}=…." if RESERVED[name] else "The scores depend on its value."
        raise UsageError(f"--reward-arg vllm.{name}: cannot be set here. {instead}")
    arguments: dict[str, Any] = {
        "model": str(options.directory),
        "runner": "pooling",
        "dtype": options.dtype,
        "max_model_len": options.max_length,
    }
    if options.device == "cpu":
        arguments |= CPU_DEFAULTS
    return arguments | {key: parse_value(value) for key, value in options.arguments.items()}
