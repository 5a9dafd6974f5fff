"""`reward-model`: a Hugging Face sequence-classification model with one output, read under its own chat template."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from grao_pipeline.devices import resolve_device
from grao_pipeline.errors import InputError
from grao_pipeline.generation.tokenization import chat_template, render
from grao_pipeline.models import load_config, load_tokenizer, load_weights, locate_model
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments


class RewardModel:
    """The single logit of the conversation with the completion as its last turn.

    Candidates are batched by length; none is scored otherwise than alone. One that is longer than the model's positions
    is not cut: it gets no reward and status `truncated`.

    Arguments: model (required): a model directory or hub id.

    Raises:
        InputError: there is no such model, or it does not have exactly one output.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments("reward-model", arguments, model=None)
        self._source = locate_model(taken["model"])
        self._runtime = runtime
        config = load_config(self._source)
        if config.num_labels != 1:
            raise InputError(
                f"{taken['model']} has {config.num_labels} outputs; a reward model has one (num_labels=1)."
            )
        self._max_length: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        self._pad_token_id: int | None = config.get_text_config().pad_token_id

    def identity(self) -> Mapping[str, Any]:
        return {"model": self._source.fingerprint, "tokenizer": self._source.tokenizer}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        judgements: dict[int, Judgement] = {}
        encoded: dict[int, list[int]] = {}
        for index, candidate in enumerate(candidates):
            found = self._encode(candidate)
            if isinstance(found, Judgement):
                judgements[index] = found
            else:
                encoded[index] = found
        by_length = sorted(encoded, key=lambda index: len(encoded[index]))
        for start in range(0, len(by_length), self._runtime.batch_size):
            batch = by_length[start : start + self._runtime.batch_size]
            for index, logit in zip(batch, self._logits([encoded[i] for i in batch]), strict=True):
                judgements[index] = Judgement.of(logit)
        return [judgements[index] for index in range(len(candidates))]

    def _encode(self, candidate: Candidate) -> list[int] | Judgement:
        """The token ids that the model reads, or why it cannot."""
        messages = [*candidate.messages, {"role": "assistant", "content": candidate.completion}]
        try:
            text = render(self._tokenizer, chat_template(self._tokenizer), messages, generation=False)
        except InputError as error:
            return Judgement(None, "error", str(error))
        ids = [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]
        if not ids:
            return Judgement(None, "error", "the reward model's chat template makes no text of it")
        if self._max_length is not None and len(ids) > self._max_length:
            return Judgement(None, "truncated", f"{len(ids)} tokens; the reward model reads {self._max_length}")
        return ids

    def _logits(self, rows: list[list[int]]) -> list[float]:
        """One logit per row, that of its last token. Where the model's head finds it by the padding token, a model
        without one gets a token that no row holds: one that a row ends in would be taken for padding.
        """
        torch = require("torch")
        config = self._model.config.get_text_config()
        pad = _unused_token(rows, config.vocab_size) if self._pad_token_id is None else self._pad_token_id
        if pad is None and len(rows) > 1:
            return [logit for row in rows for logit in self._logits([row])]
        config.pad_token_id = pad
        longest = max(len(row) for row in rows)
        padded = [row + [pad or 0] * (longest - len(row)) for row in rows]
        ids = torch.tensor(padded, device=self._model.device)  # [B, T]
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self._model.device)
        with torch.inference_mode():
            output = self._model(input_ids=ids, attention_mask=mask)
        return [float(logit) for logit in output.logits[:, 0].float().cpu()]

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._source)

    @cached_property
    def _model(self) -> Any:
        device = resolve_device(self._runtime.device)
        dtype = "float32" if device == "cpu" else "bfloat16"
        return load_weights(self._source.directory, "AutoModelForSequenceClassification", dtype).to(device)


def _unused_token(rows: list[list[int]], vocab_size: int) -> int | None:
    used = {token for row in rows for token in row}
    return next((token for token in range(vocab_size) if token not in used), None)
