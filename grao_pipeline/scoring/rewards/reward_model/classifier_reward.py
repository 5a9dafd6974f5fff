"""A conversation that ends in the completion → the outputs of a sequence classifier for it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import PositiveInt, model_validator

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.models.plain_text import MARK, PlainText
from grao_pipeline.models.source import load_config, load_tokenizer, locate_model
from grao_pipeline.models.templates import PLAIN_TEMPLATE, chat_template, render
from grao_pipeline.plugins import load
from grao_pipeline.residence import RESIDENCE
from grao_pipeline.scoring.engine_arguments import num_devices, shaping_vllm_arguments, vllm_arguments
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime
from grao_pipeline.scoring.rewards.reward_model.base import Classifier, ClassifierOptions

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

CLASSIFIERS = {
    "transformers": "grao_pipeline.scoring.rewards.reward_model.transformers:TransformersClassifier",
    "vllm": "grao_pipeline.scoring.rewards.reward_model.vllm:VllmClassifier",
}
ENCODER_TEMPLATE = "{% set bos_token = '' %}{% set eos_token = '' %}" + PLAIN_TEMPLATE
"""For an encoder without chat template: its tokenizer puts its special tokens around the text."""
OWN_ARGUMENTS = {"model": "model=…", "dtype": "dtype=…", "max_model_len": "max_length=…"}


class ClassifierReward(Reward):
    """Base of the rewards that read the outputs of a sequence classifier, under its chat template.

    Every sequence gets the outputs that it would get alone. One that is longer than the model reads is not cut: it gets
    no reward and status `truncated`.

    Attributes:
        outputs: names of the model's outputs, in order.

    Raises:
        InputError: the model does not exist, or is not a sequence classifier.
        UsageError: an argument cannot work.
    """

    class Arguments(PluginArguments):
        model: str = argument(..., "Model directory or Hub ID.", examples=["MODEL"])
        engine: Literal["transformers", "vllm"] = argument(
            "transformers", "What runs the model; vllm computes the common prompt of a group once."
        )
        dtype: Literal["auto", "float32", "bfloat16"] = argument(
            "auto", "Precision; auto: float32 on CPU, else bfloat16."
        )
        max_length: PositiveInt | None = argument(
            None, "Longest sequence to score, in tokens; default: as long as the model reads."
        )
        vllm: Annotated[dict[str, Any], vllm_arguments(OWN_ARGUMENTS)] = argument(
            {}, "vllm.KEY=value: an argument of `vllm.LLM`, e.g. vllm.gpu_memory_utilization=0.5."
        )

        @model_validator(mode="after")
        def _vllm_arguments_are_for_vllm(self) -> Self:
            if self.vllm and self.engine != "vllm":
                raise ValueError(f"vllm.{next(iter(self.vllm))} needs engine=vllm; the engine is {self.engine}")
            return self

    arguments: Arguments

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._source = locate_model(arguments.model)
        config = load_config(self._source)
        self.outputs = _outputs(config, arguments.model)
        _check_length(arguments.max_length, config)

    def identity(self) -> Mapping[str, object]:
        """Engine and precision count: the scores differ in the sixth digit, or in the third."""
        return {
            **self.arguments.model_dump(mode="json"),
            "model": self._source.fingerprint,
            "tokenizer": self._source.tokenizer,
            "vllm": shaping_vllm_arguments(self.arguments.vllm),
        }

    def num_devices(self) -> int:
        return num_devices(self.arguments.vllm)

    def logits(self, candidates: Sequence[Candidate]) -> Iterator[list[float] | Judgement]:
        """The model's outputs for each candidate, or why it has none; in order, as soon as they are known."""
        known: dict[int, list[float] | Judgement] = {}
        rows: dict[int, list[int]] = {}
        for index, encoded in enumerate(self._encode(candidates)):
            if isinstance(encoded, Judgement):
                known[index] = encoded
            else:
                rows[index] = encoded
        candidate_of_row = list(rows)
        with closing(self._classifier.logits(list(rows.values()))) as stream:
            for index in range(len(candidates)):
                while index not in known:
                    row, logits = next(stream)
                    known[candidate_of_row[row]] = logits
                yield known.pop(index)

    def close(self) -> None:
        if "_classifier" in vars(self):
            RESIDENCE.leave(self._resident, self._classifier)
            del self._classifier

    def _encode(self, candidates: Sequence[Candidate]) -> list[list[int] | Judgement]:
        """Per candidate the token ids that the model reads, or a judgement that says why it cannot."""
        texts = [self._text(candidate) for candidate in candidates]
        ids = iter(self._token_ids([text for text in texts if isinstance(text, str)]))
        return [self._readable(next(ids)) if isinstance(text, str) else text for text in texts]

    def _text(self, candidate: Candidate) -> str | Judgement:
        turns = [*candidate.messages, {"role": "assistant", "content": candidate.completion}]
        messages = [self._plain.marked_message(turn) for turn in turns]
        try:
            return render(self._tokenizer, self._template, messages, generation=False)
        except InputError as error:
            return Judgement(None, "error", str(error))

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        """A chat template writes the special tokens, except for `ENCODER_TEMPLATE`. Those that a text spells are text:
        an encoder reads a space inside of them.
        """
        if self._template != ENCODER_TEMPLATE:
            return [self._plain.encode(text) for text in texts]
        if not texts:  # a tokenizer fails on an empty list
            return []
        ids: list[list[int]] = self._tokenizer([text.replace(MARK, " ") for text in texts], verbose=False)["input_ids"]
        return ids

    def _readable(self, ids: list[int]) -> list[int] | Judgement:
        longest = self._classifier.max_length
        if not ids:
            return Judgement(None, "error", "the reward model's chat template renders it as an empty text")
        if longest is not None and len(ids) > longest:
            return Judgement(None, "truncated", f"{len(ids)} tokens; the reward model reads {longest}")
        return ids

    @cached_property
    def _template(self) -> str:
        template = chat_template(self._tokenizer)
        is_encoder = self._tokenizer.cls_token is not None
        return ENCODER_TEMPLATE if template == PLAIN_TEMPLATE and is_encoder else template

    @cached_property
    def _plain(self) -> PlainText:
        return PlainText(self._tokenizer)

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        return load_tokenizer(self._source)

    @cached_property
    def _classifier(self) -> Classifier:
        device = resolve_device(self.runtime.device)
        auto = "float32" if device == "cpu" else "bfloat16"
        dtype = self.arguments.dtype
        options = ClassifierOptions(
            directory=self._source.directory,
            dtype=auto if dtype == "auto" else dtype,
            device=device,
            max_length=self.arguments.max_length,
            batch_size=self.runtime.batch_size,
            arguments=self.arguments.vllm,
        )
        resident = RESIDENCE.take(self._resident)
        if isinstance(resident, Classifier):
            return resident
        classifier: Classifier = load("classifier", self.arguments.engine, CLASSIFIERS)(options)
        return classifier

    @property
    def _resident(self) -> str:
        """The name under which the classifier stays."""
        return f"classifier {fingerprint([dict(self.identity()), self.runtime.device, self.runtime.batch_size])}"


def _outputs(config: "PreTrainedConfig", model: str) -> list[str]:
    """The names of the model's outputs, in order."""
    architectures = config.architectures or []
    if architectures and not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise InputError(
            f"{model} is a {architectures[0]}; a reward model is a sequence classifier (…ForSequenceClassification)."
        )
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def _check_length(max_length: int | None, config: "PreTrainedConfig") -> None:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if max_length is not None and positions is not None and max_length > positions:
        raise UsageError(f"max_length={max_length}: the reward model reads {positions} tokens.", option="reward_arg")
