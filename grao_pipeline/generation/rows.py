"""Prompts → rows of the groups table: token ids before sampling; texts and group ID after it."""

from collections.abc import Sequence

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import group_fingerprint
from grao_pipeline.generation.engines.base import Sample
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.generation.policy import Policy
from grao_pipeline.generation.summary import GenerateSummary
from grao_pipeline.models.templates import RefusedConversation
from grao_pipeline.models.token_text import StopStrings


class RowBuilder:
    """Makes the rows of a policy's groups of one round.

    Args:
        summary: counts the references that get no token ids, by the reason.
    """

    def __init__(self, policy: Policy, options: GenerateOptions, summary: GenerateSummary) -> None:
        self._policy = policy
        self._tokenizer = policy.tokenizer
        self._options = options
        self._summary = summary
        self._stops = StopStrings(options.stop, policy.tokenizer.token_text)
        self._rendered: dict[str, str] = {}

    def check(self, prompt: Row) -> None:
        """Render a prompt, whose text `begin` takes, and its reference.

        Raises:
            RefusedConversation: the chat template cannot; the message names the prompt.
        """
        messages, reference, tools = prompt["messages"], prompt["reference"], prompt["tools"]
        try:
            text = self._tokenizer.rendered(messages, True, tools)
            if reference is not None:
                self._tokenizer.rendered([*messages, {"role": "assistant", "content": reference}], False, tools)
        except RefusedConversation as error:
            raise RefusedConversation(f"Prompt {prompt['prompt_id']}: {error}") from error
        self._rendered[prompt["prompt_id"]] = text

    def begin(self, prompt: Row) -> Row:
        """The row of a prompt without its samples. A reference that does not fit into the context, or that would teach
        a model that reasons not to, gets no token ids: it is not trained on.

        Raises:
            InputError: the prompt is empty, or model and tokenizer do not belong together.
        """
        text = self._rendered.pop(prompt["prompt_id"], None)
        if text is None:
            text = self._tokenizer.rendered(prompt["messages"], True, prompt["tools"])
        ids = self._tokenizer.encoded(text)
        reference_ids = self._reference(prompt, text)
        if not ids:
            raise InputError(f"Prompt {prompt['prompt_id']} is empty: its chat template makes no text of it.")
        largest = max([*ids, *(reference_ids or [])])
        if largest >= self._policy.vocab_size:
            raise InputError(
                f"Prompt {prompt['prompt_id']} has token id {largest}, but the model's vocabulary has "
                f"{self._policy.vocab_size} tokens. Use the tokenizer of the model."
            )
        if reference_ids is not None and len(ids) + len(reference_ids) > self._policy.context_length:
            reference_ids = None
            self._summary.references_too_long += 1
        return {**prompt, "prompt_token_ids": ids, "reference_token_ids": reference_ids}

    def finish(self, row: Row, samples: Sequence[Sample]) -> Row:
        """The complete row."""
        ids = [sample.token_ids for sample in samples]
        texts = [self._stops.text(token_ids) for token_ids in ids]
        columns = self._tokenizer.split_columns(row["prompt_token_ids"], texts)
        return {
            **row,
            "group_id": group_fingerprint(row["prompt_id"], self._policy.fingerprint, ids),
            "completions": texts,
            **columns,
            "completion_token_ids": ids,
            "completion_logprobs": [sample.logprobs for sample in samples],
            "completion_behavior_logprobs": _behavior_logprobs(samples),
            "completion_token_ends": list(map(self._tokenizer.token_text.ends, ids, texts)),
            "finish_reasons": [sample.finish_reason for sample in samples],
            "policy": self._policy.fingerprint,
            "round": self._options.round,
            "retokenized": any(sample.retokenized for sample in samples),
        }

    def _reference(self, prompt: Row, before: str) -> list[int] | None:
        """Token ids of the reference after its rendered prompt; None where a prompt has no reference, or it is left
        out of training.
        """
        if prompt["reference"] is None:
            return None
        wanted = self._options.reference_reasoning
        continuation = self._tokenizer.continuation(
            prompt["messages"],
            prompt["reference"],
            prompt["reference_reasoning"],
            prompt["tools"],
            empty_thought=wanted != "none",
            before=before,
        )
        summary, thought = self._summary, continuation.thought
        summary.reference_reasoning_left_out += thought == "left out"
        summary.references_without_reasoning += thought == "missing"
        summary.references_without_answer += thought == "unfinished"
        is_left_out = thought == "unfinished" or (thought == "missing" and wanted == "required")
        return None if is_left_out else continuation.token_ids


def _behavior_logprobs(samples: Sequence[Sample]) -> list[list[float] | None] | None:
    """None where all samples are the policy's as it is."""
    if all(sample.behavior_logprobs == sample.logprobs for sample in samples):
        return None
    return [sample.behavior_logprobs for sample in samples]
