"""Finds the answer of a completion and compares it with the expected one; called in separate processes."""

import re
from functools import lru_cache
from typing import TypedDict

from grao_pipeline.scoring.rewards.answer_markers import CUT_OFF, UNMARKED, Marked, last_marked
from grao_pipeline.scoring.rewards.math_comparison import are_equal
from grao_pipeline.scoring.rewards.math_reading import Expression, bases, read_whole, upright
from grao_pipeline.scoring.rewards.quantities import begins_with_number

DELIMITED = re.compile(r"(?<!\\)(\$+)(?:[^$\\]|\\.)+?\1|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
UNREADABLE = "no readable answer"


class Comparison(TypedDict):
    """What a comparison says, as JSON."""

    expected_is_readable: bool
    equal: bool
    answer: str | None
    """The text that the answer was read from; None where it is unreadable."""
    problem: str
    """Why there is no answer."""


def compare(expected: str, completion: str, strict: bool = False, was_cut: bool = False) -> Comparison:
    """Whether a completion's answer equals the expected one. It may never end or fill the memory: call it with limits.

    >>> compare("1/2", "It is $0.25$.")
    {'expected_is_readable': True, 'equal': False, 'answer': '0.25', 'problem': ''}
    """
    gold = _read_expected(expected)
    if not gold:
        return {"expected_is_readable": False, "equal": False, "answer": None, "problem": ""}
    expressions, text, problem = read(completion, strict, was_cut)
    equal = bool(expressions) and are_equal(gold, expressions)
    if equal and bases(expected) and bases(text or ""):
        equal = bases(expected) == bases(text or "")
    return {"expected_is_readable": True, "equal": equal, "answer": text, "problem": problem}


def prepare() -> None:
    """Import math-verify and its grammar before the first comparison, which has a time limit."""
    from math_verify import parse

    parse("$1$", parsing_timeout=None)


def read(text: str, strict: bool = False, was_cut: bool = False) -> tuple[list[Expression], str | None, str]:
    """(expressions, the text that they were read from, ""), or ([], None, why there is no answer)."""
    marked = last_marked(text, lambda marked: _states_mathematics(marked) and (marked.is_complete or not was_cut))
    if marked is None and (strict or was_cut):
        return [], None, CUT_OFF if was_cut else UNMARKED
    sentence = text
    if marked is not None:
        if expressions := read_whole(marked.text):
            return expressions, marked.text, ""
        if marked.kind == "box":
            return [], None, UNREADABLE
        if (delimited := DELIMITED.search(marked.text)) and (expressions := read_whole(delimited[0])):
            return expressions, delimited[0], ""
        sentence = f"The answer is {marked.text}"  # the marker that math-verify knows
    elif expressions := read_whole(text):
        return expressions, text, ""
    for form in (sentence, text) if sentence != text and not strict else (sentence,):
        values = _found_in(form)
        expressions = [value for value in values if not isinstance(value, str)]
        if expressions:
            return expressions, next((value for value in values if isinstance(value, str)), form), ""
    return [], None, UNREADABLE


def _found_in(sentence: str) -> list[Expression | str]:
    """What math-verify finds in a sentence, and the text that it was read from."""
    from math_verify import parse

    values: list[Expression | str] = parse(upright(sentence.replace("\\$", "")), parsing_timeout=None)
    return values


def _states_mathematics(marked: Marked) -> bool:
    """A box and a phrase are an answer whatever they hold; a label where mathematics follows at once."""
    if marked.kind != "label":
        return True
    text = marked.text.lstrip("*_ ")
    return begins_with_number(text) or text.startswith(("$", "\\", "(", "[", "{")) or bool(read_whole(text))


@lru_cache(maxsize=1024)
def _read_expected(expected: str) -> list[Expression]:
    """The expected expressions, if they equal themselves. Cached, since the samples of a group share them."""
    gold = read_whole(expected)
    if not gold and (marked := last_marked(expected, _states_mathematics)) is not None and marked.kind != "box":
        gold = read_whole(marked.text)
    return gold if gold and are_equal(gold, gold) else []
