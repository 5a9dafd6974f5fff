"""An assistant's turn → the text that continues a prompt, with its reasoning where the template has it."""

import re
from dataclasses import dataclass
from typing import Protocol

from grao_pipeline.models.reasoning_style import ReasoningStyle


class RenderTurn(Protocol):
    """The prompt's conversation with one more turn, whose fields are given, as the template renders it."""

    def __call__(self, **turn: str) -> str: ...


@dataclass(frozen=True)
class TurnWriter:
    """Writes turns after one prompt. What it writes closes a reasoning part that the prompt opens exactly once."""

    style: ReasoningStyle
    prompt: str
    render: RenderTurn

    def with_reasoning(self, reasoning: str, answer: str) -> str:
        """As the template renders it; by hand where the template drops reasoning or changes the prompt."""
        if self.style.field is not None:
            text = text_after(self.prompt, self.render(content=answer, **{self.style.field: reasoning}))
            if text is not None and reasoning.strip() in text:
                return text
        return self._by_hand(reasoning.strip(), answer)

    def without_reasoning(self, answer: str) -> str:
        """The answer alone; with an empty reasoning part where the prompt has opened one."""
        if self._is_open:
            return self.with_empty_reasoning(answer)
        marks = self.style.marks
        empty = re.compile(rf"(\s*){re.escape(marks.opening.strip())}\s*{re.escape(marks.closing.strip())}\s*")
        return empty.sub(r"\1", text, count=1) if empty.match(text := self.plain(answer)) else text

    def with_empty_reasoning(self, answer: str) -> str:
        """The answer after a reasoning part that is empty and closed."""
        text = text_after(self.prompt, self.render(content=answer))
        if text is not None and self.style.marks.closing.strip() in text.partition(answer)[0]:
            return text
        return self._by_hand("", answer)

    def plain(self, answer: str) -> str:
        """As the template renders an answer without reasoning."""
        text = text_after(self.prompt, self.render(content=answer))
        return answer + self.style.after if text is None else text

    @property
    def _is_open(self) -> bool:
        return self.style.marks.is_open(self.prompt)

    def _by_hand(self, reasoning: str, answer: str) -> str:
        before = "" if self._is_open else self.style.before
        return f"{before}{reasoning}{self.style.between}{answer}{self.style.after}"


def text_after(prompt: str, whole: str) -> str | None:
    """The text of `whole` after `prompt`; None where it does not begin with it."""
    return whole[len(prompt) :] if whole.startswith(prompt) else None
