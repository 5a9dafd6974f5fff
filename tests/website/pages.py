"""The documents as they are written: their blocks of code, and running a page from top to bottom."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import tiny

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = re.compile(r"^<!-- run -->$", re.MULTILINE)
"""In a page whose commands are run; without it only its Python is."""
FENCE = re.compile(r"(<!-- not run: [^\n]+ -->\n)?^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code of a document."""

    language: str
    text: str
    is_run: bool


def name_of(path: Path) -> str:
    """For the IDs of tests."""
    return str(path.relative_to(ROOT))


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document, in order."""
    for reason, language, content in FENCE.findall(text):
        yield Block(language, content, not reason)


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `grao …` in a document: in fenced and indented blocks, and within sentences."""
    fenced = [block.text for block in blocks(text) if block.language in ("bash", "")]
    prose = FENCE.sub("", text)
    indented = re.findall(r"^ {4,}\S.*(?:\n {4,}\S.*)*", prose, re.MULTILINE)
    for code in (*fenced, *indented):
        for line in re.sub(r"\\+\n", " ", code).split("\n"):
            yield from _calls(line)
    for inline in re.findall(r"(?<!`)`(grao [^`]+)`(?!`)", prose):
        yield from _calls(" ".join(inline.split()))


def _calls(line: str) -> Iterator[list[str]]:
    """The `grao …` of a line of a shell, without what a shell would do around it."""
    for part in re.split(r"&& | ; |\|\| |\$\(|(?<= )2>|(?<= )[<>|](?= )", re.sub(r"(^|\s)#.*", "", line)):
        match = re.search(r"(?:^|[\s'\"(/])(?:grao|-m grao_pipeline) (.*)", part)
        if match is None:
            continue
        try:
            yield shlex.split(match[1])
        except ValueError:  # the end of a quotation that began before `grao`
            yield match[1].rstrip("'\") ").split()


def run_page(path: Path) -> str:
    """Run a page's Python, and where it says so its commands, in the current directory; what they print.

    Commands run in this process, as `grao` would run them.
    """
    text = path.read_text()
    runs_commands = RUN.search(text) is not None
    namespace: dict[str, Any] = {"__name__": path.stem}
    printed = io.StringIO()
    for number, block in enumerate(blocks(text)):
        if not block.is_run:
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, f"{path.name}, block {number}", "exec"), namespace)
        elif block.language == "bash" and runs_commands:
            for line in re.sub(r"\\\n", " ", block.text).splitlines():
                words = shlex.split(line, comments=True)
                assert words[:1] == ["grao"], f"{path.name}: {line}: only grao is run; mark the block as not run."
                result = tiny.grao(*words[1:])
                assert result.exit_code == 0, f"{line}\n{result.output}"
                printed.write(result.output)
    return printed.getvalue()
