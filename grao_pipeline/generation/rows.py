"""Prompts → rows of the groups table: token ids before sampling; texts and group ID after it."""

from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import group_fingerprint
from grao_pipeline.generation.engines.base import Sample
from grao_pipeline.generation.policy import Policy

Row = dict[str, Any]


class RowBuilder:
    """Makes the rows of a policy's groups of one round."""

    def __init__(self, policy: Policy, round_number: int) -> None:
        self._policy = policy
        self._tokenizer = policy.tokenizer
        self._round = round_number

    def begin(self, prompt: Mapping[str, Any]) -> Row:
        """The row of a prompt without its samples. A reference that does not fit into the context gets no token ids:
        it is not trained on.

        Raises:
            InputError: the prompt is empty, or model and tokenizer do not belong together.
        """
        ids = self._tokenizer.prompt(prompt["messages"])
        reference = prompt["reference"]
        reference_ids = None if reference is None else self._tokenizer.reference(prompt["messages"], reference)
        if not ids:
            raise InputError(f"Prompt {prompt['prompt_id']} is empty: its chat template makes no text of it.")
        largest = max([*ids, *(reference_ids or [])])
        if largest >= self._policy.vocab_size:
            raise InputError(
                f"Prompt {prompt['prompt_id']} has token id {largest}, but the model's vocabulary has "
                f"{self._policy.vocab_size} tokens. Use the tokenizer of the model."
            )
        if len(ids) + len(reference_ids or []) > self._policy.context_length:
            reference_ids = None
        return {**prompt, "prompt_token_ids": ids, "reference_token_ids": reference_ids}

    def finish(self, row: Row, samples: Sequence[Sample]) -> Row:
        """The complete row."""
        ids = [sample.token_ids for sample in samples]
        return {
            **row,
            "group_id": group_fingerprint(row["prompt_id"], self._policy.fingerprint, ids),
            "completions": [self._tokenizer.text(token_ids) for token_ids in ids],
            "completion_token_ids": ids,
            "completion_logprobs": [sample.logprobs for sample in samples],
            "finish_reasons": [sample.finish_reason for sample in samples],
            "policy": self._policy.fingerprint,
            "round": self._round,
            "retokenized": any(sample.retokenized for sample in samples),
        }
