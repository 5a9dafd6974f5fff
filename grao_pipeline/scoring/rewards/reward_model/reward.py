"""`reward-model`: a Hugging Face sequence-classification model, read under its own chat template."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.models.chat import PLAIN_TEMPLATE, chat_template, render
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.models.source import load_config, load_tokenizer, locate_model
from grao_pipeline.plugins import load
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments
from grao_pipeline.scoring.rewards.reward_model.base import Classifier, ClassifierOptions
from grao_pipeline.scoring.rewards.reward_model.output import parse_output

CLASSIFIERS = {
    "transformers": "grao_pipeline.scoring.rewards.reward_model.transformers:TransformersClassifier",
    "vllm": "grao_pipeline.scoring.rewards.reward_model.vllm:VllmClassifier",
}
DTYPES = ("auto", "float32", "bfloat16")
ENGINE_PREFIX = "vllm."
RESOURCES = {
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_num_batched_tokens",
    "max_num_seqs",
    "pipeline_parallel_size",
    "tensor_parallel_size",
}
"""Arguments of vLLM that say how the work is done; every other may shape the scores."""
ENCODER_TEMPLATE = "{% set bos_token = '' %}{% set eos_token = '' %}" + PLAIN_TEMPLATE
"""For an encoder without chat template: its tokenizer puts its own special tokens around the text."""


class RewardModel:
    """A logit, or a weighted sum of logits, of the conversation with the completion as its last turn.

    None is scored otherwise than alone. One that is longer than the model reads is not cut: it gets no reward and
    status `truncated`. Where a model has several outputs, a judgement's detail holds them all, as JSON.

    Arguments:
        model (required): a model directory or hub id.
        output: which of several outputs is the reward, `NAME` or `NAME:WEIGHT,NAME:WEIGHT`; see `parse_output`.
        engine: `transformers` or `vllm`; vLLM computes the samples' common prompt once.
        dtype: `float32`, `bfloat16`, or `auto`: float32 on CPU, bfloat16 on GPU.
        max_length: longest sequence that is scored, in tokens; what the model reads by default.
        vllm.NAME: an argument of `vllm.LLM`, e.g. `vllm.gpu_memory_utilization=0.5`.

    Raises:
        InputError: there is no such model, or it is no sequence classifier.
        UsageError: an argument has a value that cannot be.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        own = {name: value for name, value in arguments.items() if not name.startswith(ENGINE_PREFIX)}
        self._engine_arguments = {
            name.removeprefix(ENGINE_PREFIX): value for name, value in arguments.items() if name not in own
        }
        defaults = {"output": "", "engine": "transformers", "dtype": "auto", "max_length": ""}
        taken = take_arguments("reward-model", own, model=None, **defaults)
        self._engine = _one_of("engine", taken["engine"], tuple(CLASSIFIERS))
        self._dtype = _one_of("dtype", taken["dtype"], DTYPES)
        if self._engine_arguments and self._engine != "vllm":
            name = next(iter(self._engine_arguments))
            raise UsageError(f"--reward-arg {ENGINE_PREFIX}{name}: is for engine=vllm; the engine is {self._engine}.")
        self._runtime = runtime
        self._source = locate_model(taken["model"])
        config = load_config(self._source)
        self._output = parse_output(taken["output"], _outputs(config, taken["model"]), taken["model"])
        self._max_length = _length(taken["max_length"], config)

    def identity(self) -> Mapping[str, Any]:
        """Engine and precision count: the scores differ in the sixth digit, or in the third."""
        return {
            "model": self._source.fingerprint,
            "tokenizer": self._source.tokenizer,
            "output": self._output.weights,
            "engine": self._engine,
            "dtype": self._dtype,
            "max_length": self._max_length,
            "engine_arguments": {k: v for k, v in self._engine_arguments.items() if k not in RESOURCES},
        }

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        """In order; each as soon as it and those before it are known."""
        judgements: dict[int, Judgement] = {}
        rows: dict[int, list[int]] = {}
        for index, found in enumerate(self._encode(candidates)):
            if isinstance(found, Judgement):
                judgements[index] = found
            else:
                rows[index] = found
        places = list(rows)
        with closing(self._classifier.logits(list(rows.values()))) as stream:
            for index in range(len(candidates)):
                while index not in judgements:
                    row, logits = next(stream)
                    judgements[places[row]] = Judgement.of(self._output.reward(logits), self._output.detail(logits))
                yield judgements.pop(index)

    def _encode(self, candidates: Sequence[Candidate]) -> list[list[int] | Judgement]:
        """For each candidate the token ids that the model reads, or why it cannot."""
        texts = [self._text(candidate) for candidate in candidates]
        ids = iter(self._token_ids([text for text in texts if isinstance(text, str)]))
        return [self._readable(next(ids)) if isinstance(text, str) else text for text in texts]

    def _text(self, candidate: Candidate) -> str | Judgement:
        messages = [*candidate.messages, {"role": "assistant", "content": candidate.completion}]
        try:
            return render(self._tokenizer, self._template, messages, generation=False)
        except InputError as error:
            return Judgement(None, "error", str(error))

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        """A chat template writes the special tokens itself; see `ENCODER_TEMPLATE`."""
        if not texts:  # of which a tokenizer makes an error
            return []
        special = self._template == ENCODER_TEMPLATE
        found: list[list[int]] = self._tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
        return found

    def _readable(self, ids: list[int]) -> list[int] | Judgement:
        longest = self._classifier.max_length
        if not ids:
            return Judgement(None, "error", "the reward model's chat template makes no text of it")
        if longest is not None and len(ids) > longest:
            return Judgement(None, "truncated", f"{len(ids)} tokens; the reward model reads {longest}")
        return ids

    @cached_property
    def _template(self) -> str:
        own = chat_template(self._tokenizer)
        is_encoder = self._tokenizer.cls_token is not None
        return ENCODER_TEMPLATE if own == PLAIN_TEMPLATE and is_encoder else own

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._source)

    @cached_property
    def _classifier(self) -> Classifier:
        device = resolve_device(self._runtime.device)
        auto = "float32" if device == "cpu" else "bfloat16"
        options = ClassifierOptions(
            directory=self._source.directory,
            dtype=auto if self._dtype == "auto" else self._dtype,
            device=device,
            max_length=self._max_length,
            batch_size=self._runtime.batch_size,
            arguments=self._engine_arguments,
        )
        classifier: Classifier = load("classifier", self._engine, CLASSIFIERS)(options)
        return classifier


def _outputs(config: Any, model: str) -> list[str]:
    """The names of the model's outputs, in their order."""
    kinds = config.architectures or []
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise InputError(
            f"{model} is a {kinds[0]}; a reward model is a sequence classifier (…ForSequenceClassification)."
        )
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def _one_of(name: str, value: str, values: Sequence[str]) -> str:
    if value not in values:
        raise UsageError(f"--reward-arg {name}={value}: reward 'reward-model' knows {', '.join(values)}.")
    return value


def _length(value: str, config: Any) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"--reward-arg max_length={value}: must be a whole number of tokens, 1 or more.")
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and int(value) > positions:
        raise UsageError(f"--reward-arg max_length={value}: the reward model reads {positions} tokens at most.")
    return int(value)
