"""How a model marks its reasoning, and a completion → its reasoning and its answer. Pure functions of texts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Split(NamedTuple):
    """The two parts of a completion.

    Example: `THINK.split("<think>\\n6 · 7\\n</think>\\n\\n42")` → `Split("6 · 7", "42")`
    """

    reasoning: str | None
    """None where a text has no reasoning."""
    answer: str | None
    """None where the reasoning never ends."""


@dataclass(frozen=True)
class Marks:
    """The texts around a model's reasoning.

    Example: `Marks("<think>", "</think>")`
    """

    opening: str
    closing: str
    header: str = ""
    """A regular expression of what precedes the answer, in channel formats: all before its first match is reasoning."""
    control: tuple[str, ...] = ()
    """Further texts of the format, which end an answer and are not part of the reasoning."""
    space: tuple[str, str, str] = ("\n", "\n", "\n\n")
    """White space after the opening, before the closing and after it, where a template does not show it."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the format; where they are special tokens, the text of a completion has them nonetheless."""
        return (self.opening, self.closing, *self.control)

    def is_open(self, prompt: str) -> bool:
        """Whether a prompt ends inside of a reasoning part."""
        return prompt.rstrip().endswith(self.opening.rstrip())

    def is_closed(self, prompt: str) -> bool:
        """Whether a prompt ends with the end of a reasoning part: the model must not reason."""
        return prompt.rstrip().endswith(self.closing.rstrip())

    def split(self, text: str, is_open: bool = False) -> Split:
        """The reasoning and the answer of a completion.

        Args:
            is_open: the prompt has opened the reasoning.
        """
        return _split_channels(text, self) if self.header else _split_blocks(text, self, is_open)


def _split_channels(text: str, marks: Marks) -> Split:
    controls = "|".join(map(re.escape, (marks.opening, marks.closing, *marks.control)))
    answer = re.search(marks.header, text)
    if answer is None:
        return Split(_bodies(text, marks), None) if re.search(controls, text) else Split(None, text)
    end = re.compile(controls).search(text, answer.end())
    return Split(_bodies(text[: answer.start()], marks), text[answer.end() : end.start() if end else len(text)])


def _bodies(text: str, marks: Marks) -> str | None:
    """The messages of channels, without their headers and marks."""
    headers = r"<\|start\|>[^<]*", r"<\|channel\|>[^<]*(?:<\|constrain\|>[^<]*)?"
    parts = re.split("|".join((re.escape(marks.opening), re.escape(marks.closing), marks.header, *headers)), text)
    for control in marks.control:
        parts = [part.replace(control, "") for part in parts]
    return _joined(parts)


def _split_blocks(text: str, marks: Marks, is_open: bool) -> Split:
    """The answer is what stands outside of the blocks. A mark in the middle of a line of the answer is text: an answer
    may be about these marks.
    """
    if not is_open and marks.opening.strip() not in text and marks.closing.strip() not in text:
        return Split(None, text)
    opening, closing = re.escape(marks.opening.strip()), re.escape(marks.closing.strip())
    first = re.search(f"{opening}|{closing}", text)
    if not is_open:
        if first is None or (first[0] == marks.opening.strip() and not _begins_line(text, first.start())):
            return Split(None, text)
        is_open = first[0] == marks.closing.strip()
    border = re.compile(rf"(?:\A|(?<=\n))[ \t]*(?:(?P<opens>{opening})|{closing}[ \t]*(?=\n|\Z))")
    thoughts: list[str] = []
    answers: list[str] = []
    while True:
        if is_open:
            thought, end, text = text.partition(marks.closing.strip())
            thoughts.append(re.sub(rf"\A\s*{opening}", "", thought))
            if not end:
                return Split(_joined(thoughts), None)
            text = text.lstrip()
        mark = border.search(text)
        if mark is None:
            return Split(_joined(thoughts), "".join([*answers, text]).lstrip())
        is_open = mark["opens"] is not None
        (answers if is_open else thoughts).append(text[: mark.start()])  # what a second end follows is reasoning
        text = text[mark.end() :] if is_open else text[mark.end() :].lstrip()


THINK = Marks("<think>", "</think>")
"""Most models."""
HARMONY = Marks(
    "<|channel|>analysis<|message|>",
    "<|end|>",
    r"<\|channel\|>final(?:\s*<\|constrain\|>\s*\w*)?\s*<\|message\|>",
    ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|call|>", "<|return|>"),
)
"""gpt-oss."""
KNOWN = (
    Marks("<|channel>thought", "<channel|>", space=("\n", "\n", "")),
    Marks("[THINK]", "[/THINK]", space=("", "", "")),
    Marks("◁think▷", "◁/think▷", space=("", "", "")),
    Marks("<|START_THINKING|>", "<|END_THINKING|>", space=("", "", "")),
    Marks("<|begin_of_thought|>", "<|end_of_thought|>"),
    Marks("<|inner_prefix|>", "<|inner_suffix|>", space=("", "", "")),
    Marks("Here is my thought process:", "Here is my response:", space=(" ", "\n\n", " ")),
)
"""Gemma, Mistral, Kimi, Cohere, OpenThinker, Apertus, Granite."""
TAG = re.compile(r"</((?:[\w.-]+:)?(?:think|thinking|thought|thoughts|reasoning|reason)(?:_\w+)?)>")
"""The end of a reasoning part in models that mark it as XML does: </think>, </seed:think>, </reasoning>."""


def find_marks(text: str) -> Marks | None:
    """The marks that a chat template, or the special tokens of a tokenizer, mention; None where they mention none."""
    if "<|channel|>" in text and "<|message|>" in text:
        return HARMONY
    tags: list[str] = TAG.findall(text)
    if tags:
        name = "think" if "think" in tags else max(tags, key=tags.count)
        return Marks(f"<{name}>", f"</{name}>")
    return next((marks for marks in KNOWN if marks.closing in text), None)


def split_text(text: str) -> Split:
    """The reasoning and the answer of a text of an unknown model: `<think>` is what most of them write."""
    return THINK.split(text)


def _begins_line(text: str, position: int) -> bool:
    return not text[:position].rpartition("\n")[2].strip()


def _joined(thoughts: Iterable[str]) -> str | None:
    """None where all are empty: an empty block is not reasoning."""
    return "\n\n".join(thought.strip() for thought in thoughts if thought.strip()) or None
