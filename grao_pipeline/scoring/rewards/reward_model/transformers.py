"""Sequence classifiers with transformers: batches of similar lengths under a budget of tokens."""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from grao_pipeline.errors import StageFailure
from grao_pipeline.models.source import load_weights
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.reward_model.base import Classifier, ClassifierOptions
from grao_pipeline.scoring.rewards.token_budget import TokenBudget, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADVICE = "Use --reward-arg max_length=…, --reward-arg dtype=bfloat16 or --device cpu."


class TransformersClassifier(Classifier):
    """Any `AutoModelForSequenceClassification`: decoders, whose head reads the last token, and encoders.

    Raises:
        InputError: the weights cannot be read, or lack a classification head.
        StageFailure: the model does not fit into the GPU's memory.
    """

    def __init__(self, options: ClassifierOptions) -> None:
        self._device = options.device
        self._model = _load(options)
        self._config: Any = self._model.config.get_text_config()
        self._config.use_cache = False  # nothing is generated
        self._pad_token_id: int | None = self._config.pad_token_id
        self._budget = TokenBudget(options.batch_size, options.device)
        bounds = [length for length in (options.max_length, self._positions()) if length is not None]
        self.max_length = min(bounds, default=None)

    def logits(self, rows: Sequence[Sequence[int]]) -> Generator[tuple[int, list[float]], None, None]:
        return self._budget.outputs(rows, self._forward, ADVICE)

    def rest(self) -> bool:
        self._model.to("cpu")
        if self._device == "cuda":
            require("torch").cuda.empty_cache()
        return True

    def wake(self) -> None:
        self._model.to(self._device)

    def _forward(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Logits of rows that are padded to the longest [B, num_labels]. A decoder's head finds a row's last token by
        the padding token in the model's config. A model without one gets a token that no row contains: a token at the
        end of a row would be mistaken for padding.
        """
        pad = _unused_token(rows, self._config.vocab_size) if self._pad_token_id is None else self._pad_token_id
        if pad is None and len(rows) > 1:
            return [logits for row in rows for logits in self._forward([row])]
        self._config.pad_token_id = pad
        ids, mask = padded(rows, pad or 0, self._model.device)
        with require("torch").inference_mode():
            output = self._model(input_ids=ids, attention_mask=mask)
        logits: list[list[float]] = output.logits.float().cpu().tolist()
        return logits

    def _positions(self) -> int | None:
        """The longest row that the model has positions for. Encoders of the RoBERTa family do not use the first
        positions, up to that of their padding token.
        """
        positions: int | None = getattr(self._config, "max_position_embeddings", None)
        for name, module in self._model.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                return int(module.num_embeddings) - int(module.padding_idx) - 1
        return positions


def _load(options: ClassifierOptions) -> "PreTrainedModel":
    torch = require("torch")
    model = load_weights(options.directory, "AutoModelForSequenceClassification", options.dtype)
    try:
        return model.to(options.device)
    except torch.OutOfMemoryError as error:
        raise StageFailure(
            f"{options.directory} in {options.dtype} does not fit into the GPU's memory. Use an idle GPU, "
            "--reward-arg dtype=bfloat16, engine=vllm with vllm.tensor_parallel_size=…, or --device cpu."
        ) from error


def _unused_token(rows: Sequence[Sequence[int]], vocab_size: int) -> int | None:
    used = {token for row in rows for token in row}
    return next((token for token in range(vocab_size) if token not in used), None)
