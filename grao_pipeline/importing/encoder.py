"""Prompts and samples of a source → the columns of a group: texts, answers, token IDs and masks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from grao_pipeline.fingerprints import tokenizer_fingerprint
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.importing.rows import ImportedPrompt
from grao_pipeline.importing.samples import ImportedSample, Tokens
from grao_pipeline.importing.trajectories import render_trajectory
from grao_pipeline.messages import Message
from grao_pipeline.models.chat import PromptTokenizer, declared_stop_token_ids, stop_token_ids
from grao_pipeline.models.reasoning import Split
from grao_pipeline.models.source import ModelSource, load_tokenizer, locate_model
from grao_pipeline.models.templates import RefusedConversation, TemplateSettings, read_template
from grao_pipeline.prompts.base import DroppedRow
from grao_pipeline.schemas import FinishReason


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt with its token IDs; empty lists without a tokenizer.

    Attributes:
        reference_token_ids: None where there is no reference, or none to train on.
    """

    prompt: ImportedPrompt
    messages: Sequence[Message]
    token_ids: list[int]
    reference_token_ids: list[int] | None


@dataclass(frozen=True)
class EncodedSample:
    """A sample as the columns of a group.

    Attributes:
        split: None where the text has no parts.
        is_retokenized: its token IDs were made from its text.
        token_ends: the number of characters of the text up to the end of each token; None where that is unknown.
    """

    text: str
    tokens: Tokens
    finish_reason: FinishReason
    split: Split | None
    is_retokenized: bool
    token_ends: list[int] | None = None


class PlainEncoder:
    """Without a tokenizer: texts, and the token IDs of the source, if it has some."""

    def prompt(self, prompt: ImportedPrompt) -> EncodedPrompt:
        """The prompt of a row.

        Raises:
            DroppedRow: it cannot be used.
        """
        if prompt.messages is None:
            raise DroppedRow("the prompt has token IDs alone: its text needs --tokenizer")
        reference_ids: list[int] | None = None if prompt.reference is None else []  # no reference, or unknown IDs
        return EncodedPrompt(prompt, prompt.messages, prompt.token_ids or [], reference_ids)

    def sample(self, prompt: EncodedPrompt, sample: ImportedSample) -> EncodedSample:
        """A sample of that prompt.

        Raises:
            DroppedRow: it cannot be used.
        """
        reason = sample.finish_reason or "stop"
        if sample.turns is not None:
            split = split_turns(sample.turns)
            text = sample.text if sample.text is not None else transcript(sample.turns)
            return EncodedSample(text, sample.tokens or Tokens([]), reason, split, False)
        if sample.text is None:
            raise DroppedRow("a response has token IDs alone: its text needs --tokenizer")
        return EncodedSample(sample.text, sample.tokens or Tokens([]), reason, None, False)


class Encoder(PlainEncoder):
    """With the tokenizer that the options name.

    Attributes:
        thoughts: number of references and responses by what became of their reasoning, e.g. `responses missing`.
    """

    def __init__(self, name: str, options: ImportOptions) -> None:
        directory = Path(name)
        if directory.is_dir():  # a tokenizer can be used without the model's weights
            source = ModelSource(directory, "", tokenizer_fingerprint(directory))
        else:
            source = locate_model(name)
        settings = TemplateSettings.parse(options.template_arg, options.template_date)
        tokenizer = load_tokenizer(source)
        self.fingerprint = source.tokenizer
        self.declared_stops = declared_stop_token_ids(source.directory)
        stops = stop_token_ids(tokenizer, source.directory)
        self.prompts = PromptTokenizer(tokenizer, stops, read_template(options.chat_template), settings)
        self.thoughts: Counter[str] = Counter()
        self._reference_reasoning = options.reference_reasoning

    def prompt(self, prompt: ImportedPrompt) -> EncodedPrompt:
        messages = prompt.messages or [{"role": "user", "content": self.prompts.text(prompt.token_ids or [])}]
        try:
            ids = prompt.token_ids if prompt.token_ids is not None else self.prompts.prompt(messages, prompt.tools)
            reference_ids = self._reference(prompt, messages)
        except RefusedConversation as error:
            raise DroppedRow(str(error)) from error
        return EncodedPrompt(prompt, messages, ids, reference_ids)

    def sample(self, prompt: EncodedPrompt, sample: ImportedSample) -> EncodedSample:
        encoded = self._encoded(prompt, sample)
        return replace(encoded, token_ends=self.prompts.token_text.ends_within(encoded.tokens.ids, encoded.text))

    def _encoded(self, prompt: EncodedPrompt, sample: ImportedSample) -> EncodedSample:
        if sample.tokens is not None:
            return self._of_tokens(prompt, sample, sample.tokens)
        try:
            if sample.turns is not None and (len(sample.turns) > 1 or "tool_calls" in sample.turns[0]):
                return self._of_turns(prompt, sample, sample.turns)
            return self._of_text(prompt, sample)
        except RefusedConversation as error:
            raise DroppedRow(str(error)) from error

    def _reference(self, prompt: ImportedPrompt, messages: Sequence[Message]) -> list[int] | None:
        if prompt.reference is None:
            return None
        continuation = self.prompts.continuation(
            messages,
            prompt.reference,
            prompt.reference_reasoning,
            prompt.tools,
            empty_thought=self._reference_reasoning != "none",
        )
        self.thoughts[f"references {continuation.thought}"] += 1
        left_out = ("unfinished", "missing") if self._reference_reasoning == "required" else ("unfinished",)
        return None if continuation.thought in left_out else continuation.token_ids

    def _of_text(self, prompt: EncodedPrompt, sample: ImportedSample) -> EncodedSample:
        """One answer of the assistant, with or without reasoning."""
        [turn] = sample.turns or [{"content": sample.text}]
        reasoning = turn.get("reasoning_content")
        continuation = self.prompts.continuation(prompt.messages, turn["content"], reasoning, prompt.prompt.tools)
        self.thoughts[f"responses {continuation.thought}"] += 1
        reason, ids = sample.finish_reason or "stop", continuation.token_ids
        if reason != "stop" and ids and ids[-1] in self.prompts.stop_token_ids:
            ids = ids[:-1]
        if reasoning is not None:
            return EncodedSample(self.prompts.text(ids), Tokens(ids), reason, Split(reasoning, turn["content"]), True)
        return EncodedSample(turn["content"], Tokens(ids), reason, self._split([], turn["content"]), True)

    def _of_turns(self, prompt: EncodedPrompt, sample: ImportedSample, turns: Sequence[Message]) -> EncodedSample:
        reason = sample.finish_reason or "stop"
        tokens = render_trajectory(self.prompts, prompt.messages, turns, prompt.prompt.tools, reason != "stop")
        tokens = replace(tokens, mask=None) if tokens.mask is not None and all(tokens.mask) else tokens
        return EncodedSample(self.prompts.text(tokens.ids), tokens, reason, self._split_turns(turns), True)

    def _of_tokens(self, prompt: EncodedPrompt, sample: ImportedSample, tokens: Tokens) -> EncodedSample:
        """Token IDs as they are. Without a finish reason, the last sampled one says whether the sample was cut."""
        flags = tokens.mask or [True] * len(tokens.ids)
        sampled = list(compress(tokens.ids, flags))
        is_ended = bool(sampled) and sampled[-1] in self.prompts.stop_token_ids
        reason = sample.finish_reason or ("stop" if is_ended else "length")
        text = sample.text if sample.text is not None else self.prompts.text(tokens.ids)
        if sample.turns is not None:
            split: Split | None = self._split_turns(sample.turns)
        elif tokens.mask is None:
            split = self._split(prompt.token_ids, text)
        else:
            last_turn = self.prompts.text(last_run(tokens.ids, flags))
            split = self._split([], last_turn) or Split(None, last_turn)
        return EncodedSample(text, tokens, reason, split, False)

    def _split_turns(self, turns: Sequence[Message]) -> Split:
        split = split_turns(turns)
        inside = self._split([], split.answer) if split.reasoning is None and split.answer is not None else None
        return inside or split

    def _split(self, prompt_token_ids: Sequence[int], text: str) -> Split | None:
        columns = self.prompts.split_columns(prompt_token_ids, [text])
        reasoning, answers = columns["reasoning"], columns["answers"]
        return None if reasoning is None or answers is None else Split(reasoning[0], answers[0])


def split_turns(turns: Sequence[Message]) -> Split:
    """Reasoning and text of the assistant's last turn; no answer where that turn has no text, e.g. calls a tool."""
    last = next(turn for turn in reversed(turns) if turn["role"] == "assistant")
    return Split(last.get("reasoning_content"), last["content"] or None)


def transcript(turns: Sequence[Message]) -> str:
    """The text of a trajectory without a chat template: the turns, an empty line between them."""
    lines = []
    for turn in turns:
        calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in turn.get("tool_calls", ())]
        speaker = "" if turn["role"] == "assistant" else f"{turn['role']}: "
        lines.append("\n".join(text for text in (f"{speaker}{turn['content']}", *calls) if text))
    return "\n\n".join(lines)


def last_run(ids: Sequence[int], mask: Sequence[bool]) -> list[int]:
    """The last tokens that the policy sampled in a row: its last turn."""
    end = max(place for place, sampled in enumerate(mask) if sampled) + 1
    start = next((place + 1 for place in reversed(range(end)) if not mask[place]), 0)
    return list(ids[start:end])
