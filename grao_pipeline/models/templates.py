"""Chat templates: a conversation → its text. Whatever a template reads besides the conversation is fixed per table."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, JsonValue

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.files import read_text
from grao_pipeline.json_text import InvalidJson, parse_json
from grao_pipeline.messages import Message, template_messages
from grao_pipeline.models.template_limits import render_bounded
from grao_pipeline.models.template_operations import TemplateLimit
from grao_pipeline.options import closest
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import require

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
DEFAULT_DATE = "2026-01-01"
"""The date that templates print: the same command must write the same table tomorrow."""
RESERVED = ("messages", "tools", "documents", "conversation", "chat_template", "add_generation_prompt", "tokenize")
"""Variables of a template that are not the user's to set."""
CHAT_TEMPLATE_HELP = "Jinja file to use instead of the tokenizer's chat template."
TEMPLATE_ARG_HELP = "Variable of the chat template as key=value, e.g. enable_thinking=false. JSON or text. Repeatable."
TEMPLATE_DATE_HELP = (
    "Date, or date and time, that a chat template prints as the current one (2026-07-31 or 2026-07-31T09:30:00)."
)
REFERENCE_REASONING_HELP = (
    "References without reasoning, where the model reasons: required (they are not trained on), empty (trained on "
    "after an empty, closed thought) or none (without a thought)."
)


class RefusedConversation(InputError):
    """A chat template fails on a conversation."""


def _date(given: object) -> object:
    """A date that YAML has parsed already, as text."""
    return given.isoformat() if hasattr(given, "isoformat") else given


TemplateDate = Annotated[str, BeforeValidator(_date)]
"""The type of `--template-date`."""


@dataclass(frozen=True)
class TemplateSettings:
    """What a chat template reads besides the conversation.

    Example: `TemplateSettings({"enable_thinking": False}, "2026-07-31")`
    """

    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
    date: str = DEFAULT_DATE

    @staticmethod
    def parse(pairs: Sequence[str], date: str) -> "TemplateSettings":
        """Of `--template-arg` and `--template-date`.

        Raises:
            UsageError: a pair has no '=', names a variable that is not the user's to set, or the date is not one.
        """
        values = {name: _json_or_text(text) for name, text in key_values(pairs, "template_arg").items()}
        reserved = sorted(set(values) & set(RESERVED))
        if reserved:
            raise UsageError(f"{reserved[0]!r} cannot be set: it is given by the conversation.", option="template_arg")
        try:
            datetime.fromisoformat(date)
        except ValueError:
            raise UsageError(
                f"{date!r} is not a date; expected 2026-07-31 or 2026-07-31T09:30:00.", option="template_date"
            ) from None
        return TemplateSettings(values, date)

    def check(self, template: str) -> None:
        """Check that the template reads every argument.

        Raises:
            UsageError: it never mentions one; the argument would have no effect.
        """
        for name in self.arguments:
            if not mentions(template, name):
                known = sorted(set(re.findall(r"[A-Za-z_]\w+", template)))
                raise UsageError(
                    f"the chat template reads no variable {name!r}.{closest(name, known)}", option="template_arg"
                )

    def variables(self) -> dict[str, object]:
        """The variables, and the clock that stands still."""
        moment = datetime.fromisoformat(self.date)
        return {"strftime_now": moment.strftime, **self.arguments}

    def details(self) -> dict[str, object]:
        """For the provenance of a table."""
        return {"template_arguments": dict(self.arguments), "template_date": self.date}


def mentions(template: str, name: str) -> bool:
    """Whether a template contains a name."""
    return re.search(rf"\b{re.escape(name)}\b", template) is not None


def chat_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The tokenizer's chat template (its default one, where it has several), or `PLAIN_TEMPLATE`."""
    template = tokenizer.chat_template
    return str((template.get("default") if isinstance(template, dict) else template) or PLAIN_TEMPLATE)


def with_defaults(template: str, arguments: Mapping[str, JsonValue]) -> str:
    """A template in which arguments are the defaults of its variables, so that whoever loads it later gets them."""
    lines = [
        f"{{%- if {name} is not defined %}}{{% set {name} = {_jinja(value)} %}}{{% endif -%}}\n"
        for name, value in arguments.items()
    ]
    return "".join(lines) + template


def render(
    tokenizer: "PreTrainedTokenizerBase",
    template: str,
    messages: Iterable[Message],
    generation: bool,
    tools: str | None = None,
    variables: Mapping[str, object] | None = None,
) -> str:
    """The text of a conversation under a chat template.

    Args:
        generation: end the text where the assistant's answer begins.
        tools: a JSON list of the schemas of tools.
        variables: further variables of the template.

    Raises:
        RefusedConversation: the template is not valid Jinja, or refuses the conversation.
        InputError: the template works beyond all bounds.
    """
    jinja = require("jinja2")
    messages = template_messages(messages)
    try:
        given = {
            **tokenizer.special_tokens_map,
            **(TemplateSettings().variables() if variables is None else variables),
            "messages": messages,
            "tools": None if tools is None else parse_json(tools),
            "documents": None,
            "add_generation_prompt": generation,
        }
        return render_bounded(template, given)
    except TemplateLimit as error:  # the template's fault: it would take that long for every conversation
        raise InputError(f"The chat template is refused: {error}. Use another --chat-template.") from error
    except (
        *(jinja.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
        *(RecursionError, AssertionError),
    ) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise RefusedConversation(f"The chat template fails on a conversation of {roles}: {error}") from error


def read_template(path: str | None) -> str | None:
    """The text of a Jinja file; None where `path` is None.

    Raises:
        InputError: the file cannot be read.
    """
    if path is None:
        return None
    return read_text(path)


def _json_or_text(text: str) -> JsonValue:
    try:
        value: JsonValue = parse_json(text)
    except InvalidJson:
        return text
    return value


def _jinja(value: JsonValue) -> str:
    """A value as a Jinja expression; Jinja spells JSON's literals the same, but for null."""
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
