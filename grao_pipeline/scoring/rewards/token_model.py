"""A model of transformers whose outputs are per token, for rewards that read some of them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.errors import InputError
from grao_pipeline.messages import Message
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.models.plain_text import PlainText
from grao_pipeline.models.source import causal_lm_class, load_config, load_tokenizer, load_weights, locate_model
from grao_pipeline.models.templates import chat_template, render
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.base import Reward, RewardRuntime
from grao_pipeline.scoring.rewards.token_budget import TokenBudget, padded

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from grao_pipeline.models.source import AutoClass

ADVICE = "Use --reward-arg dtype=bfloat16 or --device cpu."


Kind = Literal["language", "token"]


class TokenModel:
    """A model with its tokenizer. The weights are loaded when they are first used.

    Args:
        kind: `language`: logits over the vocabulary; `token`: logits over the labels of a token classifier.

    Raises:
        InputError: the model does not exist, or is of another kind.
    """

    def __init__(self, model: str, dtype: str, runtime: RewardRuntime, kind: Kind) -> None:
        self._source = locate_model(model)
        self.config = load_config(self._source)
        self._kind = kind
        architecture = next(iter(self.config.architectures or []), "")
        if kind == "token" and not architecture.endswith("ForTokenClassification"):
            raise InputError(
                f"{model} is a {architecture or 'model of unknown architecture'}; expected a token classifier "
                "(…ForTokenClassification)."
            )
        self._device = resolve_device(runtime.device)
        auto = "float32" if self._device == "cpu" else "bfloat16"
        self._dtype = auto if dtype == "auto" else dtype
        self._budget = TokenBudget(runtime.batch_size, self._device)
        self.max_length: int | None = getattr(self.config.get_text_config(), "max_position_embeddings", None)

    def identity(self) -> Mapping[str, str]:
        """Its part of the identity of a reward."""
        return {"model": self._source.fingerprint, "tokenizer": self._source.tokenizer, "dtype": self._dtype}

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation up to where the assistant's answer begins.

        Raises:
            InputError: the chat template refuses it.
        """
        marked = [self._plain.marked_message(message) for message in messages]
        return self._plain.encode(render(self._tokenizer, chat_template(self._tokenizer), marked, generation=True))

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text in which no special token is meant."""
        return self._plain.encode(self._plain.marked(text))

    def logits(self, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> "Iterator[tuple[int, Tensor]]":
        """(index of a row, its logits at some places in float32 [P, K]), the longest rows first.

        Args:
            rows: token ids [B][T]; padding follows them, and no model reads it.
            places: of each row.

        Raises:
            StageFailure: a row does not fit into memory.
        """
        for index, output in self._budget.outputs(rows, self._forward, ADVICE):
            yield index, output[list(places[index])].float().cpu()

    def close(self) -> None:
        """Free the device."""
        vars(self).pop("_model", None)

    def _forward(self, rows: Sequence[Sequence[int]]) -> "Tensor":
        ids, mask = padded(rows, 0, self._device)
        with require("torch").inference_mode():
            logits: Tensor = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        return load_tokenizer(self._source)

    @cached_property
    def _plain(self) -> PlainText:
        return PlainText(self._tokenizer)

    @cached_property
    def _model(self) -> "PreTrainedModel":
        directory = self._source.directory
        model_class: AutoClass | str = "AutoModelForTokenClassification"
        if self._kind == "language":
            model_class = causal_lm_class(self.config, directory)
        return load_weights(directory, model_class, self._dtype).to(self._device)


class TokenModelReward(Reward):
    """Base of the rewards that read the outputs of a model token by token.

    Raises:
        InputError: the model does not exist, or is of another kind.
    """

    class Arguments(PluginArguments):
        model: str = argument(..., "Model directory or Hub ID.", examples=["MODEL"])
        dtype: Literal["auto", "float32", "bfloat16"] = argument(
            "auto", "Precision; auto: float32 on CPU, else bfloat16."
        )

    arguments: Arguments
    kind: ClassVar[Kind] = "language"

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._model = TokenModel(arguments.model, arguments.dtype, runtime, self.kind)

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), **self._model.identity()}

    def num_devices(self) -> int:
        return 1

    def close(self) -> None:
        self._model.close()
