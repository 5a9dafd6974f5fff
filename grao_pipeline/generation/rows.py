"""Prompts → rows of the groups table: token ids before sampling; texts and identity after it."""

from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import group_fingerprint
from grao_pipeline.generation.engines.base import Sample
from grao_pipeline.models.chat import PromptTokenizer

Row = dict[str, Any]


class RowBuilder:
    """Makes the rows of one policy's groups.

    Args:
        policy: fingerprint of the weights that sample.
        context_length: longest prompt plus completion, in tokens.
        vocab_size: of the policy.
    """

    def __init__(
        self, tokenizer: PromptTokenizer, policy: str, round_number: int, context_length: int, vocab_size: int
    ) -> None:
        self._tokenizer = tokenizer
        self._policy = policy
        self._round = round_number
        self._context_length = context_length
        self._vocab_size = vocab_size

    def begin(self, prompt: Mapping[str, Any]) -> Row:
        """The row of a prompt without its samples. A reference that does not fit the context gets no token ids: it
        cannot be trained on.

        Raises:
            InputError: the prompt is empty, or model and tokenizer do not fit.
        """
        ids = self._tokenizer.prompt(prompt["messages"])
        reference = prompt["reference"]
        reference_ids = None if reference is None else self._tokenizer.reference(prompt["messages"], reference)
        largest = max([*ids, *(reference_ids or [])], default=0)
        if not ids or largest >= self._vocab_size:
            raise InputError(
                f"Prompt {prompt['prompt_id']} becomes token ids up to {largest} ({len(ids)} of them); the model's "
                f"vocabulary has {self._vocab_size}. Model and tokenizer do not fit, or the prompt is empty."
            )
        if len(ids) + len(reference_ids or []) > self._context_length:
            reference_ids = None
        return {**prompt, "prompt_token_ids": ids, "reference_token_ids": reference_ids}

    def finish(self, row: Row, samples: Sequence[Sample]) -> Row:
        """The whole row."""
        ids = [sample.token_ids for sample in samples]
        return {
            **row,
            "group_id": group_fingerprint(row["prompt_id"], self._policy, ids),
            "completions": [self._tokenizer.text(token_ids) for token_ids in ids],
            "completion_token_ids": ids,
            "completion_logprobs": [sample.logprobs for sample in samples],
            "finish_reasons": [sample.finish_reason for sample in samples],
            "policy": self._policy,
            "round": self._round,
            "retokenized": any(sample.retokenized for sample in samples),
        }
