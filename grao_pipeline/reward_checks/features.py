"""What a reward may pay for although nobody meant it to: numbers of a text that need no model.

| feature | family | value |
|---|---|---|
| tokens | length | tokens that the policy sampled |
| list_items | format | lines that begin with a bullet or a number |
| markup | format | headings, bold spans and code fences |
| exclamations | format | exclamation marks |
| hedges | hedging | hedging words per 100 words |
| repetition | repetition | share of the groups of three words that occurred before |
"""

import re
from collections.abc import Callable, Mapping

_LIST_ITEM = re.compile(r"^\s*(?:[-*•+]|\d{1,3}[.)])\s", re.MULTILINE)
_MARKUP = re.compile(r"^#{1,6}\s|\*\*[^*\n]+\*\*|^\s*```", re.MULTILINE)
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_HEDGE = re.compile(
    r"\b(?:perhaps|maybe|might|may|could|possibly|probably|presumably|likely|seems?|appears?|somewhat|roughly|arguably|"
    r"generally|typically|usually|often|sometimes|i think|i believe|i guess|not (?:entirely )?sure|it depends|"
    r"in some cases|to some extent|tends? to)\b",
    re.IGNORECASE,
)
REPEATED_WORDS = 3


def list_items(text: str) -> float:
    """The number of lines that begin with a bullet or a number."""
    return float(len(_LIST_ITEM.findall(text)))


def markup(text: str) -> float:
    """The number of headings, bold spans and code fences."""
    return float(len(_MARKUP.findall(text)))


def exclamations(text: str) -> float:
    """The number of exclamation marks."""
    return float(text.count("!"))


def hedges(text: str) -> float:
    """Hedging words and phrases per 100 words."""
    words = len(_WORD.findall(text))
    return 100.0 * len(_HEDGE.findall(text)) / words if words else 0.0


def repetition(text: str) -> float:
    """The share of the groups of three words that occurred before in the text."""
    words = [word.lower() for word in _WORD.findall(text)]
    triples = [tuple(words[place : place + REPEATED_WORDS]) for place in range(len(words) - REPEATED_WORDS + 1)]
    return 1.0 - len(set(triples)) / len(triples) if triples else 0.0


OF_TEXT: Mapping[str, Callable[[str], float]] = {
    "list_items": list_items,
    "markup": markup,
    "exclamations": exclamations,
    "hedges": hedges,
    "repetition": repetition,
}
FEATURES = ("tokens", *OF_TEXT)
