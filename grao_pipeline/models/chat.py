"""Conversations and references → token ids, exactly as the policy sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import read_config
from grao_pipeline.messages import Message
from grao_pipeline.models.plain_text import PlainText
from grao_pipeline.models.reasoning import THINK, Marks, Split, find_marks
from grao_pipeline.models.reasoning_style import ANSWER, QUESTION, ReasoningStyle, learn_style
from grao_pipeline.models.templates import RefusedConversation, TemplateSettings, chat_template, render
from grao_pipeline.models.token_text import TokenText, special_tokens
from grao_pipeline.models.turns import TurnWriter, text_after

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TAIL = 64
"""Tokens at the end of a prompt in which a template may open the reasoning."""
Thought = Literal["as given", "left out", "missing", "unfinished"]
"""What became of the reasoning of a turn: it is as given (also where the model does not reason), it was left out
because reasoning is off, the model reasons but the turn does not, or it never ends.
"""


@dataclass(frozen=True)
class Continuation:
    """An answer as the continuation of a prompt.

    Example: `Continuation([19, 151645], "missing")`
    """

    token_ids: list[int]
    thought: Thought


class SplitColumns(TypedDict):
    """Two columns of the groups; both null where the model has no reasoning."""

    reasoning: list[str | None] | None
    answers: list[str | None] | None


class PromptTokenizer:
    """A tokenizer with its chat template. All text becomes token ids here.

    Args:
        tokenizer: a transformers tokenizer.
        stop_token_ids: the tokens that end a turn, apart from the one that the template writes.
        template: Jinja text to use instead of the tokenizer's chat template. Where there is neither, `PLAIN_TEMPLATE`.
        settings: what the template reads besides the conversation.

    Raises:
        UsageError: the template reads no variable of that name.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        stop_token_ids: Sequence[int],
        template: str | None = None,
        settings: TemplateSettings | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._plain = PlainText(tokenizer)
        self.template = chat_template(tokenizer) if template is None else template
        self.settings = settings or TemplateSettings()
        self.settings.check(self.template)
        self._variables = self.settings.variables()
        self.stop_token_ids = tuple(sorted({*stop_token_ids, *self._end_of_turn()}))

    def prompt(self, messages: Sequence[Message], tools: str | None = None) -> list[int]:
        """Token ids of the conversation, up to the beginning of the answer. [P]

        Args:
            tools: a JSON list of the schemas of tools that the template shows.

        Raises:
            RefusedConversation: the template fails on it.
        """
        return self.encoded(self.rendered(messages, True, tools))

    def reference(self, messages: Sequence[Message], reference: str) -> list[int]:
        """Token ids of `reference` as the continuation of that prompt, end-of-turn token included. [L]"""
        return self.continuation(messages, reference).token_ids

    def continuation(
        self,
        messages: Sequence[Message],
        answer: str,
        reasoning: str | None = None,
        tools: str | None = None,
        *,
        empty_thought: bool = True,
        before: str | None = None,
    ) -> Continuation:
        """An answer as the continuation of that prompt, end-of-turn token included. [L]

        The continuation is the template's text after the prompt, up to its last end-of-turn token. Reasoning, given
        apart or inside of the answer's text, stands where the template has it; a reasoning part that the prompt opens
        is closed exactly once. Where the template does not render the prompt unchanged, the answer is its bare text.

        Args:
            empty_thought: an answer without reasoning gets an empty, closed reasoning part where the model reasons;
                otherwise none, where the prompt has not opened one.
            before: the rendered prompt, where it is known.

        Raises:
            RefusedConversation: the template fails on the conversation.
        """
        before = self._render(messages, True, tools) if before is None else before

        def render_turn(**turn: str) -> str:
            return self._render([*messages, {"role": "assistant", **turn}], False, tools)

        style = self.style
        if style is None:
            rendered = text_after(before, render_turn(content=answer))
            return Continuation(self._ended(before, answer if rendered is None else rendered), "as given")
        if not reasoning:
            reasoning, rest = _split_by(style.marks, answer)
            if rest is None:
                opening = "" if style.marks.is_open(before) else style.before
                return Continuation(self._encode_after(before, f"{opening}{reasoning or ''}"), "unfinished")
            answer = rest
        writer = TurnWriter(style, before, render_turn)
        if style.is_off or style.marks.is_closed(before):
            return Continuation(self._ended(before, writer.plain(answer)), "left out" if reasoning else "as given")
        if reasoning:
            return Continuation(self._ended(before, writer.with_reasoning(reasoning, answer)), "as given")
        text = writer.with_empty_reasoning(answer) if empty_thought else writer.without_reasoning(answer)
        return Continuation(self._ended(before, text), "missing")

    def rendered(self, messages: Sequence[Message], generation: bool, tools: str | None = None) -> str:
        """The text of a conversation; with `generation` up to the beginning of the next answer.

        Raises:
            RefusedConversation: the template fails on it.
        """
        return self._render(messages, generation, tools)

    def encoded(self, text: str) -> list[int]:
        """Token ids of a rendered text."""
        return self._encode(text)

    def encoded_after(self, before: str, text: str) -> list[int]:
        """Token ids of `text` as the continuation of `before`."""
        return self._encode_after(before, text)

    @cached_property
    def style(self) -> ReasoningStyle | None:
        """How the template writes reasoning; None where it knows none."""

        def render_with(messages: Sequence[Message], generation: bool, /, **variables: object) -> str:
            return render(self._tokenizer, self.template, messages, generation, None, {**self._variables, **variables})

        return learn_style(render_with, self.template)

    @cached_property
    def marks(self) -> Marks | None:
        """The marks of reasoning in completions: the template's, else those of the tokenizer's added tokens."""
        return self.style.marks if self.style is not None else find_marks(" ".join(self._tokenizer.get_added_vocab()))

    @property
    def mark_texts(self) -> list[str] | None:
        """The beginning and the end of reasoning, for the provenance of a table."""
        return None if self.marks is None else [self.marks.opening, self.marks.closing]

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of a completion, without special tokens but for those that mark reasoning."""
        return self.token_text.text(token_ids)

    @cached_property
    def token_text(self) -> TokenText:
        """The text of completions, token by token."""
        return TokenText(self._tokenizer, self._shown_tokens)

    def split_columns(self, prompt_token_ids: Sequence[int], texts: Sequence[str]) -> SplitColumns:
        """The columns `reasoning` and `answers` of completions of a prompt; nulls where the model has no reasoning."""
        if self.marks is None:
            return {"reasoning": None, "answers": None}
        tail = self._tokenizer.decode(list(prompt_token_ids[-TAIL:]), skip_special_tokens=False)
        is_open = self.marks.is_open(tail)
        splits = [self.marks.split(text, True) if is_open else _split_by(self.marks, text) for text in texts]
        return {"reasoning": [split.reasoning for split in splits], "answers": [split.answer for split in splits]}

    @cached_property
    def _shown_tokens(self) -> set[int]:
        """The special tokens that texts show."""
        of_marks = {token for text in (self.marks.texts if self.marks else ()) for token in self._encode(text)}
        return of_marks & special_tokens(self._tokenizer)

    def _end_of_turn(self) -> list[int]:
        """The special token that the template writes after an answer, if it writes one. It can differ from the
        tokenizer's EOS: base models of the Qwen family end a text with `<|endoftext|>`, and a turn with `<|im_end|>`.
        """
        try:
            whole = self._render([QUESTION, {"role": "assistant", "content": ANSWER}], False)
        except RefusedConversation:  # some templates need more than these two messages; the EOS is still a stop token
            return []
        special = set(self._tokenizer.all_special_ids)
        after = whole.rpartition(ANSWER)[2] if ANSWER in whole else ""
        return [token for token in self._encode(after) if token in special][:1]

    def _ended(self, before: str, text: str) -> list[int]:
        """Token ids of `text` after `before`, up to its last end-of-turn token; with EOS where it has none."""
        ids = self._encode_after(before, text)
        ends = [index for index, token in enumerate(ids) if token in self.stop_token_ids]
        if ends:
            return ids[: ends[-1] + 1]
        eos = self._tokenizer.eos_token_id
        return [*ids, *([int(eos)] if eos is not None else self.stop_token_ids[:1])]

    def _encode_after(self, before: str, text: str) -> list[int]:
        """Token ids of `text` as they are after `before`: some tokenizers put a space before the beginning of a text.
        Where a token spans the border, the token ids of the text alone.
        """
        before_ids, whole_ids = self._encode(before), self._encode(before + text)
        if whole_ids[: len(before_ids)] == before_ids:
            return whole_ids[len(before_ids) :]
        return self._encode(text)

    def _render(self, messages: Sequence[Message], generation: bool, tools: str | None = None) -> str:
        """Special tokens that users, tools and the system spell are text. The assistant's may be how it calls tools."""
        plain = [turn if turn["role"] == "assistant" else self._plain.marked_message(turn) for turn in messages]
        tools = None if tools is None else self._plain.marked(tools)
        return render(self._tokenizer, self.template, plain, generation, tools, self._variables)

    def _encode(self, text: str) -> list[int]:
        return self._plain.encode(text)


def _split_by(marks: Marks, text: str) -> Split:
    """The parts of a text: by the model's marks, else by those that most data sets have."""
    split = marks.split(text)
    return THINK.split(text) if split == (None, text) else split


def stop_token_ids(tokenizer: "PreTrainedTokenizerBase", directory: Path) -> list[int]:
    """The tokens that end a turn: the tokenizer's EOS and those that the model declares."""
    eos = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    return eos + declared_stop_token_ids(directory)


def declared_stop_token_ids(directory: Path) -> list[int]:
    """The `eos_token_id` (a number or a list) of a model's generation_config.json; that of its config.json where the
    former has none.

    Raises:
        InputError: a file is not JSON, or it names something else.
    """
    config = _read_json(directory / "config.json")
    of_text = config.get("text_config")
    places = (_read_json(directory / "generation_config.json"), config, of_text if isinstance(of_text, dict) else {})
    stated = (place.get("eos_token_id") for place in places)
    given: object = next((ids for ids in stated if ids not in (None, [])), [])
    ids = given if isinstance(given, list) else [given]
    if not all(type(token) is int for token in ids):
        raise InputError(
            f"{directory}: the eos_token_id of generation_config.json or config.json must be a token ID or a list of "
            f"them, found {given!r}."
        )
    return sorted(ids)


def _read_json(path: Path) -> dict[str, Any]:
    """An object; empty where there is no file."""
    return read_config(path) if path.is_file() else {}
