"""Fenced code blocks of a completion, however they are written: any language, not closed, inside a list."""

import re
import textwrap
from dataclasses import dataclass

_FENCE = re.compile(r"^(?P<indent>[ \t>]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)$")


@dataclass(frozen=True)
class Block:
    """A block, e.g. `Block("python", "x = 1\\n")`."""

    language: str
    """The first word behind the opening fence, in small letters; empty without one."""
    text: str
    """Its lines, without the indentation of its fence."""


def fenced_blocks(text: str) -> list[Block]:
    """The blocks of a text in their order; one that is not closed reaches to the end.

    A text whose only fence closes a block (a prompt may have opened it) has one block: what precedes the fence.
    """
    lines = text.splitlines()
    fences = [(index, match) for index, line in enumerate(lines) if (match := _FENCE.match(line))]
    if len(fences) == 1 and not fences[0][1]["info"] and fences[0][0] > 0 and not _has_code_after(lines, fences[0][0]):
        language, body = _opened_by_prompt(lines[: fences[0][0]])
        return [Block(language, _joined(body, ""))]
    blocks: list[Block] = []
    opening: re.Match[str] | None = None
    start = 0
    for index, match in fences:
        if opening is None:
            opening, start = match, index + 1
        elif not match["info"].strip() and match["fence"].startswith(opening["fence"]):
            blocks.append(Block(_language(opening["info"]), _joined(lines[start:index], opening["indent"])))
            opening = None
    if opening is not None:
        blocks.append(Block(_language(opening["info"]), _joined(lines[start:], opening["indent"])))
    return blocks


def _has_code_after(lines: list[str], fence: int) -> bool:
    """Whether the lone fence opens a block: nothing stands before it but prose, which ends in a colon or a period."""
    before = next((line.strip() for line in reversed(lines[:fence]) if line.strip()), "")
    after = any(line.strip() for line in lines[fence + 1 :])
    return after and (before.endswith((":", ".")) or not before)


def _opened_by_prompt(lines: list[str]) -> tuple[str, list[str]]:
    """(language, lines) of a block whose opening fence is in the prompt: its language may begin the completion."""
    word = lines[0].strip().lower()
    return (word, lines[1:]) if re.fullmatch(r"python3?|py|json", word) else ("", lines)


def _language(info: str) -> str:
    words = re.findall(r"[\w+#.\-]+", info.lower())
    return words[0].lstrip(".") if words else ""


def _joined(lines: list[str], indent: str) -> str:
    removed = (line.removeprefix(indent) for line in lines)
    return textwrap.dedent("".join(f"{line}\n" for line in removed))
