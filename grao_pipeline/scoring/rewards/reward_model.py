"""`reward-model`: a Hugging Face sequence-classification model with one output, read under its own chat template."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from grao_pipeline.devices import resolve_device
from grao_pipeline.errors import InputError
from grao_pipeline.generation.tokenization import PLAIN_TEMPLATE
from grao_pipeline.models import load_config, load_tokenizer, locate_model
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments


class RewardModel:
    """The single logit of the conversation with the completion as its last turn.

    Candidates are batched by length. One that is longer than the model's positions is not cut: it gets no reward and
    status `truncated`.

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

    def identity(self) -> Mapping[str, Any]:
        return {"model": self._source.fingerprint, "tokenizer": self._source.tokenizer}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        encoded = [self._encode(candidate) for candidate in candidates]
        judgements: list[Judgement | None] = [None] * len(candidates)
        for index, ids in enumerate(encoded):
            if self._max_length is not None and len(ids) > self._max_length:
                detail = f"{len(ids)} tokens; the reward model reads {self._max_length}"
                judgements[index] = Judgement(None, "truncated", detail)
        by_length = sorted(
            (index for index, judgement in enumerate(judgements) if judgement is None), key=lambda i: len(encoded[i])
        )
        for start in range(0, len(by_length), self._runtime.batch_size):
            batch = by_length[start : start + self._runtime.batch_size]
            for index, logit in zip(batch, self._logits([encoded[i] for i in batch]), strict=True):
                judgements[index] = Judgement.of(logit)
        return [judgement for judgement in judgements if judgement is not None]

    def _encode(self, candidate: Candidate) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            [*map(dict, candidate.messages), {"role": "assistant", "content": candidate.completion}],
            chat_template=self._tokenizer.chat_template or PLAIN_TEMPLATE,
            tokenize=False,
        )
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]

    def _logits(self, rows: list[list[int]]) -> list[float]:
        torch = require("torch")
        batch = self._tokenizer.pad({"input_ids": rows}, padding=True, padding_side="right", return_tensors="pt")
        with torch.inference_mode():
            output = self._model(**batch.to(self._model.device))
        return [float(logit) for logit in output.logits[:, 0].float().cpu()]

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = load_tokenizer(self._source)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        transformers = require("transformers")
        device = resolve_device(self._runtime.device)
        dtype = "float32" if device == "cpu" else "bfloat16"
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            str(self._source.directory), dtype=dtype
        )
        model.config.get_text_config().pad_token_id = self._tokenizer.pad_token_id
        return model.to(device).eval()
