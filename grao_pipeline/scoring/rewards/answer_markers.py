r"""Where a worked solution states its answer: `#### 18`, `A: 18`, `Answer: 18`, `the answer is 18`, `\boxed{18}`.

A marker is one only where it is used as one: `Option A:` is a label, `#### Step 2: add up` a heading, and `Answer: He
has 3 apples, so …` begins a solution. What follows it decides, so a reader of answers passes on what it accepts.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["box", "label", "phrase"]
LONGEST_ANSWER = 500
"""Characters of a line that are looked at for the answer."""

CUT_OFF = "cut off before an answer"
UNMARKED = "no marked answer"
STRICT_HELP = "Count only an answer that is marked as one (####, A:, Answer:, answer is, a box)."

_MARKERS = re.compile(
    r"(?P<box>\\f?boxed\s*\{)"
    r"|(?P<hashes>(?<!\#)\#{4}(?!\#))"
    # `A:` begins a line or a sentence, or follows `so`; after a noun it is a label: `Option A:`, `Train A:`.
    r"|(?:(?P<a>(?:^[ \t>#\-*_]*|[.?!:,;)]\s+|\b(?:so|then|thus|hence|therefore)[ \t]+)(?-i:A)[*_]*:))"
    r"|(?P<label>\banswers?[ \t]*[*_]*[ \t]*[:=：](?!=))"
    r"|(?P<heading>^[ \t#*_]*(?:the[ \t]+)?(?:final[ \t]+)?answer[ \t]*[*_#]*[ \t]*$)"
    r"|(?P<phrase>\banswer(?:[ \t]+(?:to|of|for)\b[^.\n:=]{0,80}?)?[ \t]+"
    r"(?:is|was|equals|(?:would|should|must)[ \t]+be)\b(?![ \t]+not\b):?)",
    re.IGNORECASE | re.MULTILINE,
)
_BOX = re.compile(r"\\f?boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_OTHER_LABEL = re.compile(r"\bB[*_]*:")
_NUMBERED_HEADING = re.compile(r"[ \t]*\d+[.):][ \t]+\S")
_BLANK = re.compile(r"[\s*_:#$]*")
_BETWEEN_BOXES = re.compile(r"[$\s]*(?:,|;|\\text\{\s*(?:and|or)\s*\}|and|or|&|\\quad|\s)*[$\s]*")


@dataclass(frozen=True)
class Marked:
    r"""A stated answer, e.g. `Marked("box", r"\frac{1}{2}")`."""

    kind: Kind
    """`box`; `label`: an answer must follow at once (`####`, `A:`, `Answer:`); `phrase`: `the answer is`."""
    text: str
    """The box's content, or the rest of the line; the next line that is not blank where nothing follows."""
    is_complete: bool = True
    """False for a box that does not end."""


def last_marked(text: str, accepts: Callable[[Marked], bool]) -> Marked | None:
    """The last stated answer that `accepts` takes for one."""
    markers = list(_MARKERS.finditer(text))
    boxes_at = _boxes(text)
    has_labels = _OTHER_LABEL.search(text) is not None
    for match in reversed(markers):
        marked = _marked(text, match, boxes_at, has_labels)
        if marked is not None and accepts(marked):
            return marked
    return None


def boxes(text: str) -> list[str]:
    r"""The contents of all boxes; those that a sentence joins (`\boxed{2} and \boxed{3}`) as one: `2, 3`."""
    return [box.text for box in {id(box): box for box in _boxes(text).values()}.values()]


def _marked(text: str, match: re.Match[str], boxes_at: Mapping[int, Marked], has_labels: bool) -> Marked | None:
    """The answer that a marker states; None for a label of something else, and for the inner one of nested boxes."""
    end = match.end()
    if match["box"]:
        return boxes_at.get(end)
    if match["hashes"]:
        is_heading = _NUMBERED_HEADING.match(text, end) is not None
        return None if is_heading else Marked("label", _rest_of_line(text, end, may_continue=False))
    if match["a"] and has_labels:
        return None
    return Marked("phrase" if match["phrase"] else "label", _rest_of_line(text, end))


def _boxes(text: str) -> dict[int, Marked]:
    """Where the content of a box begins → the box with those that a sentence joins to it. Nested boxes are left out."""
    openings = list(_BOX.finditer(text))
    closings = _closings(text) if openings else {}
    sentences: list[dict[int, str]] = []  # each: where the content of a box begins → the content
    end = -1
    for opening in openings:
        start = opening.end()
        if start < end:
            continue
        stop = closings.get(start, len(text))
        if not sentences or not _BETWEEN_BOXES.fullmatch(text, end, opening.start()):
            sentences.append({})
        sentences[-1][start] = text[start:stop]
        end = stop + 1
    boxes_at: dict[int, Marked] = {}
    for contents in sentences:
        joined = Marked("box", ", ".join(contents.values()), is_complete=max(contents) in closings)
        boxes_at |= dict.fromkeys(contents, joined)
    return boxes_at


def _closings(text: str) -> dict[int, int]:
    """The position after each brace that opens → the position of the brace that closes it."""
    closings: dict[int, int] = {}
    stack: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            stack.append(match.end())
        elif match[0] == "}" and stack:
            closings[stack.pop()] = match.start()
    return closings


def _rest_of_line(text: str, start: int, may_continue: bool = True) -> str:
    line_end = text.find("\n", start)
    if may_continue and line_end >= 0 and _BLANK.fullmatch(text, start, line_end):
        blank = _BLANK.match(text, line_end)
        start = text.rfind("\n", start, blank.end() if blank else line_end + 1) + 1
        line_end = text.find("\n", start)
    longest = start + LONGEST_ANSWER
    return text[start : min(line_end, longest) if line_end >= 0 else longest].strip().lstrip("*_ ")
