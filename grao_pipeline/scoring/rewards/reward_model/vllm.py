"""Sequence classifiers with vLLM's pooling runner, in which the samples of a group share their prompt."""

import itertools
from collections.abc import Generator, Sequence
from typing import Any

from grao_pipeline.models.vllm_process import CPU_DEFAULTS, DeathWatch, VllmProcess, death_as_failure
from grao_pipeline.plugins import require
from grao_pipeline.scoring.engine_arguments import VLLM_MEMORY_REMEDY
from grao_pipeline.scoring.rewards.reward_model.base import Classifier, ClassifierOptions


class VllmClassifier(Classifier):
    """`vllm.LLM` as a classifier in this process; its engine ends with `close`, this object or this process.

    Raises:
        UsageError: vLLM refuses an argument.
        InputError: vLLM cannot load the model.
    """

    def __init__(self, options: ClassifierOptions) -> None:
        arguments = _engine_arguments(options)
        name = str(options.directory)
        self._process = VllmProcess(arguments, options.arguments, "reward_arg", name, options.device)
        config = self._process.llm.llm_engine.vllm_config.model_config
        self.max_length = int(config.max_model_len)
        reads_last_token = config.pooler_config.seq_pooling_type == "LAST"
        self._pad_token_id = config.hf_text_config.pad_token_id if reads_last_token else None
        self._names = map(str, itertools.count())

    def logits(self, rows: Sequence[Sequence[int]]) -> Generator[tuple[int, list[float]], None, None]:
        """Rows are added in order, so that rows with a common prefix are neighbors and share vLLM's prefix cache."""
        parameters = require("vllm").PoolingParams(task="classify", use_activation=False)
        prompt = require("vllm.inputs").tokens_input
        engine = self._process.llm.llm_engine
        in_flight: dict[str, int] = {}
        with death_as_failure("The reward model's vLLM engine", VLLM_MEMORY_REMEDY), DeathWatch(engine):
            for index, row in enumerate(rows):
                name = next(self._names)
                in_flight[name] = index
                engine.add_request(name, prompt(self._without_padding(row)), parameters)
            while in_flight:
                for output in engine.step():
                    if output.request_id in in_flight:  # not of an earlier call that was interrupted
                        yield in_flight.pop(output.request_id), output.outputs.data.float().tolist()

    def rest(self) -> bool:
        return self._process.rest()

    def wake(self) -> None:
        self._process.wake()

    def close(self) -> None:
        self._process.close()

    def _without_padding(self, row: Sequence[int]) -> list[int]:
        """A row without the padding tokens at its end: transformers' head reads the last token before them, but vLLM
        the very last one.
        """
        end = len(row)
        while end > 1 and row[end - 1] == self._pad_token_id:
            end -= 1
        return list(row[:end])


def _engine_arguments(options: ClassifierOptions) -> dict[str, object]:
    arguments: dict[str, Any] = {
        "model": str(options.directory),
        "runner": "pooling",
        "dtype": options.dtype,
        "max_model_len": options.max_length,
    }
    if options.device == "cpu":
        arguments |= CPU_DEFAULTS
    return arguments | dict(options.arguments)
