"""What a chat template does with reasoning, learned from what it writes for a made-up conversation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from grao_pipeline.messages import Message
from grao_pipeline.models.reasoning import Marks, find_marks
from grao_pipeline.models.templates import RefusedConversation, mentions

FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Where templates read the reasoning of a turn."""
SWITCHES = ("enable_thinking", "thinking", "enable_reasoning")
"""Variables by which templates turn reasoning on and off."""
QUESTION: Message = {"role": "user", "content": "question-7"}
ANSWER = "answer-7"
THOUGHT = "thought-7"


class Render(Protocol):
    """A template that is ready to use; further variables may be set."""

    def __call__(self, messages: Sequence[Message], generation: bool, /, **variables: object) -> str: ...


@dataclass(frozen=True)
class ReasoningStyle:
    """How a template writes a turn with reasoning.

    Example: `ReasoningStyle(THINK, "thinking", "<think>\\n", "\\n</think>\\n\\n", "<|im_end|>\\n", False, False)`
    """

    marks: Marks
    field: str | None
    """Field of a message from which the template reads the reasoning; None: it has no place for it."""
    before: str
    """What stands between the beginning of the assistant's turn and the reasoning."""
    between: str
    """What stands between the reasoning and the answer."""
    after: str
    """What stands after the answer."""
    is_open: bool
    """The template opens the reasoning in the prompt."""
    is_off: bool
    """The template's variables turn reasoning off."""


def learn_style(render: Render, template: str) -> ReasoningStyle | None:
    """The style of a template; None where it knows no reasoning."""
    try:
        prompt = render([QUESTION], True)
        plain = render([QUESTION, {"role": "assistant", "content": ANSWER}], False)
    except RefusedConversation:  # some templates need more than these two messages
        return _by_hand(find_marks(template), "", "", "", False)
    after = plain.rpartition(ANSWER)[2] if ANSWER in plain else ""
    is_off = _is_off(render, template, prompt)
    marks = find_marks(template)
    for field in FIELDS if any(mentions(template, name) for name in FIELDS) else ():
        whole = _rendered_with(render, field)
        if whole is None:
            continue
        head, _, rest = whole.partition(THOUGHT)
        between = rest.partition(ANSWER)[0]
        marks = marks or _channels(prompt, plain, head, between)
        before = _tail(prompt, head)
        if marks.is_open(prompt) or marks.is_closed(prompt):  # the prompt has written it already
            before = head[head.rindex(marks.opening.rstrip()) :] if marks.opening.rstrip() in head else before
        return ReasoningStyle(marks, field, before, between, after, marks.is_open(prompt), is_off)
    return _by_hand(marks, prompt, plain, after, is_off)


def _rendered_with(render: Render, field: str) -> str | None:
    """The conversation with reasoning in that field; None where the template does not write it before the answer."""
    try:
        whole = render([QUESTION, {"role": "assistant", "content": ANSWER, field: THOUGHT}], False)
    except RefusedConversation:
        return None
    return whole if ANSWER in whole.partition(THOUGHT)[2] else None


def _is_off(render: Render, template: str, prompt: str) -> bool:
    for name in SWITCHES:
        if mentions(template, name):
            try:
                on, off = (render([QUESTION], True, **{name: value}) for value in (True, False))
            except RefusedConversation:
                continue
            if on != off:
                return prompt == off
    return False


def _channels(prompt: str, plain: str, head: str, between: str) -> Marks:
    """The marks of a format that nobody has told us of: what the template writes before a thought, and before an
    answer without one.
    """
    header = _tail(prompt, plain).partition(ANSWER)[0]
    return Marks(_tail(prompt, head), between.removesuffix(header), re.escape(header) if header else "")


def _by_hand(marks: Marks | None, prompt: str, plain: str, after: str, is_off: bool) -> ReasoningStyle | None:
    """For a template that marks reasoning, but has no place for that of the last turn. The white space is that of an
    empty block that it writes, or that of a block that it opens, or the usual one.
    """
    if marks is None:
        return None
    opening, closing = marks.opening.rstrip(), marks.closing.rstrip()
    empty = re.search(rf"{re.escape(opening)}(\s*){re.escape(closing)}(\s*)", f"{prompt}\0{plain}")
    if empty is not None:
        inside, behind = empty.groups()
        half = len(inside) // 2
        before, between = opening + inside[:half], inside[half:] + closing + behind
    elif marks.is_open(prompt) and not prompt.endswith("\n"):
        before, between = opening, closing
    else:
        inside, end, behind = marks.space
        before, between = opening + inside, end + closing + behind
    return ReasoningStyle(marks, None, before, between, after, marks.is_open(prompt), is_off)


def _tail(prompt: str, text: str) -> str:
    """The text after the beginning that it shares with a prompt."""
    pairs = zip(prompt, text, strict=False)
    return text[next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(text))) :]
