"""Conversations and references → token ids, exactly as the policy sees them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grao_pipeline.errors import InputError
from grao_pipeline.messages import Message, template_messages
from grao_pipeline.plugins import require

PLAIN_TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}Human{% else %}{{ message['role'] | capitalize }}{% endif %}: "
    "{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""Used for a base model whose tokenizer has no chat template: `Human: …`, `Assistant: …`, turns end with EOS."""


class PromptTokenizer:
    """A tokenizer with its chat template. All text becomes token ids here.

    Args:
        tokenizer: a transformers tokenizer.
        template: Jinja text to use instead of the tokenizer's chat template. Where there is neither, `PLAIN_TEMPLATE`.

    Raises:
        InputError: the tokenizer has no end-of-turn token.
    """

    def __init__(self, tokenizer: Any, stop_token_ids: Sequence[int], template: str | None = None) -> None:
        self._tokenizer = tokenizer
        self.template = chat_template(tokenizer) if template is None else template
        self.stop_token_ids = tuple(sorted({*stop_token_ids, *self._end_of_turn()}))
        if not self.stop_token_ids or tokenizer.eos_token_id is None:
            raise InputError("The tokenizer has no end-of-sequence token, so a completion could never end.")

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation, up to the beginning of the answer. [P]"""
        return self._encode(self._render(messages, generation=True))

    def reference(self, messages: Sequence[Message], reference: str) -> list[int]:
        """Token ids of `reference` as the continuation of that prompt, end-of-turn token included. [L]

        The continuation is the template's text after the prompt, up to its last end-of-turn token. Where the template
        does not render the prompt unchanged (some strip earlier reasoning), it is the bare text and EOS.
        """
        before = self._render(messages, generation=True)
        whole = self._render([*messages, {"role": "assistant", "content": reference}], generation=False)
        ids = self._continuation(before, whole) if whole.startswith(before) else self._encode(reference)
        ends = [index for index, token in enumerate(ids) if token in self.stop_token_ids]
        return ids[: ends[-1] + 1] if ends else [*ids, int(self._tokenizer.eos_token_id)]

    def _end_of_turn(self) -> list[int]:
        """The special token that the template writes after an answer, if it writes one. It can differ from the
        tokenizer's EOS: base models of the Qwen family end a text with `<|endoftext|>`, and a turn with `<|im_end|>`.
        """
        question = {"role": "user", "content": "q"}
        try:
            before = self._render([question], generation=True)
            whole = self._render([question, {"role": "assistant", "content": "a"}], generation=False)
        except InputError:  # some templates need more than these two messages; the EOS is still a stop token
            return []
        continuation = self._encode(whole[len(before) :]) if whole.startswith(before) else []
        special = set(self._tokenizer.all_special_ids)
        return [token for token in continuation if token in special][:1]

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of a completion, without special tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def _continuation(self, before: str, whole: str) -> list[int]:
        """Token ids of the text of `whole` after `before`, as they are inside `whole`: some tokenizers put a space
        before the beginning of a text. Where a token spans the border, the token ids of the rest alone.
        """
        before_ids, whole_ids = self._encode(before), self._encode(whole)
        if whole_ids[: len(before_ids)] == before_ids:
            return whole_ids[len(before_ids) :]
        return self._encode(whole[len(before) :])

    def _render(self, messages: Sequence[Message], generation: bool) -> str:
        return render(self._tokenizer, self.template, messages, generation)

    def _encode(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]


def chat_template(tokenizer: Any) -> str:
    """The tokenizer's chat template (its default one, where it has several), or `PLAIN_TEMPLATE`."""
    template = tokenizer.chat_template
    return str((template.get("default") if isinstance(template, dict) else template) or PLAIN_TEMPLATE)


def render(tokenizer: Any, template: str, messages: Sequence[Message], generation: bool) -> str:
    """The text of a conversation under a chat template.

    Args:
        generation: end the text where the assistant's answer begins.

    Raises:
        InputError: the template is not valid Jinja, or refuses the conversation.
    """
    jinja = require("jinja2")
    try:
        rendered = tokenizer.apply_chat_template(
            template_messages(messages),
            chat_template=template,
            add_generation_prompt=generation,
            tokenize=False,
        )
    except jinja.TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise InputError(f"The chat template fails on a conversation of {roles}: {error}") from error
    return str(rendered)


def stop_token_ids(tokenizer: Any, directory: Path) -> list[int]:
    """The tokens that end a turn: the tokenizer's EOS and those of the model's generation_config.json."""
    eos = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    return eos + declared_stop_token_ids(directory)


def declared_stop_token_ids(directory: Path) -> list[int]:
    """The `eos_token_id` (a number or a list) of a model's generation_config.json.

    Raises:
        InputError: the file is not JSON.
    """
    path = directory / "generation_config.json"
    if not path.is_file():
        return []
    try:
        declared = json.loads(path.read_text("utf-8")).get("eos_token_id")
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}. Correct the file or delete it.") from error
    return sorted(declared) if isinstance(declared, list) else [declared] if declared is not None else []


def read_template(path: str | None) -> str | None:
    """The text of a Jinja file; None where `path` is None.

    Raises:
        InputError: the file cannot be read.
    """
    if path is None:
        return None
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the chat template {path}: {error}.") from error
