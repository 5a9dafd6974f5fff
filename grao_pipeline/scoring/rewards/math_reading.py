r"""Mathematical answers as sympy expressions: whole, or not at all.

math-verify looks for mathematics anywhere in a text and falls back to a number inside it: it reads
`1-\frac{1}{\mathrm{e}}` as 1, and a matrix without delimiters as its last entry. Here an expression gets delimiters
that hold all of it, and LaTeX's grammar, which leaves no rest, either reads it or does not.
"""

import re
from typing import Any, TypeAlias

from grao_pipeline.scoring.rewards.answer_markers import boxes
from grao_pipeline.scoring.rewards.quantities import plain, whole_quantity

Expression: TypeAlias = Any
"""Of sympy, which has no types: Basic, or MatrixBase."""

LONGEST_EXPRESSION = 400
_DELIMITERS = re.compile(
    r"(?<!\\)\$+|\\[()\[\]]|\\begin\{(?:equation|align|math|gather)\*?\}|\\end\{(?:equation|align|math|gather)\*?\}"
)
_STYLE = re.compile(r"\\(?:displaystyle|limits|boldsymbol|bm)\b\s*|\\(?:left|right)\s*\.")
_UPRIGHT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|operatorname|text|textbf|textrm|textit|mbox)\s*\{\s*(\\?[A-Za-z]|[\d.,]+)\s*\}"
)
_TEXT = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_CONNECTORS = re.compile(r"(?:\\q?quad|\\[,;: ]|\s|~)*(?:,\s*)?\b(?:and|or)\b(?:\\q?quad|\\[,;: ]|\s|~)*")
_TWO_NUMBERS = re.compile(r"(?<![_\d])\d+(?:\s|~|\\[,;:! ]|\\q?quad\b)+\d")
_MIXED = re.compile(r"(?<![\d.])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\{,\}|,\\!|\\[,;: ]|~|[\u00a0\u202f\u2009]| )\d{3})+(?!\d)")
_EUROPEAN = re.compile(r"\d\.\d{3},\d")
_UNICODE = {"∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "×": r"\times ", "·": r"\cdot ", "−": "-", "–": "-"}
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\w+))")
_UNIT = re.compile(r"(?<=[\d})])\s+[A-Za-z]{2,}(?: [A-Za-z]{2,}){0,2}$")
_POINTS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.,])")
# In an expression without delimiters, the only words are names of functions and of commands.
_FUNCTIONS = (
    r"sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|frac|arcsin|arccos|arctan|sinh|cosh|tanh|max|min|gcd|lcm|mod|det|pi"
)
_WORD = re.compile(rf"(?<![\\A-Za-z])(?!(?:{_FUNCTIONS})\b)[A-Za-z]{{3,}}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z]+\*?\}(?:\s*\{[lcr| ]+\})?")
_SUBSCRIPT = re.compile(r"(?<=\d)_\{?(\d+)\}?")
_FUNCTION = re.compile(rf"(?<![A-Za-z])(?:{_FUNCTIONS})(?![A-Za-z])")
_UNIT_SIGN = re.compile(r"\d\S*(?:\s|~|\\[,;: ])+[A-Za-z]{2,}|%|°|\\circ|\\(?:text|mathrm|mbox)\b|percent")
_PLAIN_TEXT = re.compile(r"[A-Za-z][A-Za-z'’-]+(?: [A-Za-z][A-Za-z'’-]*)?")


def read_whole(text: str) -> list[Expression]:
    r"""The expressions that all of a text stands for (most often one), or [].

    Several numbers (`512 and 729`, `2, 3`) are a set. A number may have a unit; a word or two are a text answer.
    """
    contents = boxes(text)
    if contents:
        text = contents[-1] if len(set(contents)) == 1 else ""
    text = _DELIMITERS.sub(" ", text).strip().strip("*").strip().rstrip(".").strip()
    if not 0 < len(text) <= LONGEST_EXPRESSION or "\n\n" in text:
        return []
    quantity = None if "=" in text else whole_quantity(text)
    if quantity is not None and _has_unit(text) and "/" not in plain(text):
        value = f"{quantity.scaled:f}" + (r"\%" if quantity.percent else "")
        return _parse(value)
    latex = as_latex(_UNIT.sub("", text) if re.search(r"\d\s*/\s*\d", text) else text)
    if _PLAIN_TEXT.fullmatch(text) and not _FUNCTION.search(text):
        return _parse(rf"\text{{{text.strip()}}}")
    if latex is None:
        return []
    return _parse(latex)


def as_latex(text: str) -> str | None:
    r"""An expression without delimiters as LaTeX that has nothing but mathematics; None where it has something else.

    >>> [as_latex(text) for text in ("2*pi**2", "3 1/2", "1e5", r"9\,500", "512 and 729", "18 apples")]
    ['2*\\pi^2', '3\\frac{1}{2}', '1 \\times 10^{5}', '9500', '512, 729', None]
    """
    for sign, command in _UNICODE.items():
        text = text.replace(sign, command)
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)
    text = _STYLE.sub("", text)
    text = upright(text)
    text = re.sub(r"\\(?:text|mbox|textrm)\s*\{\s*(,?\s*(?:and|or),?)\s*\}", r" \1 ", text)
    text = _CONNECTORS.sub(", ", text)
    text = _POINTS.sub(lambda match: match[0].replace(".", ""), text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _GROUPED.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    words = _ENVIRONMENT.sub(" ", text)
    if (
        _EUROPEAN.search(text)
        or _TWO_NUMBERS.search(words)
        or _WORD.search(_TEXT.sub("", words))
        or _has_text_inside(text)
    ):
        return None
    text = re.sub(r"(?<![\\A-Za-z])pi\b", r"\\pi", text.replace("**", "^"))
    text = re.sub(r"(?<![\\A-Za-z])sqrt\(([^()]*)\)", r"\\sqrt{\1}", text)
    return re.sub(r"(?<=[\d.])[eE]([+-]?\d+)\b", r" \\times 10^{\1}", text)


def upright(text: str) -> str:
    r"""A text with `\mathrm{e}` as `e`: math-verify does not read constants in upright letters."""
    return _UPRIGHT.sub(lambda match: match[1], text)


def bases(text: str) -> set[str]:
    """The bases of the numbers of a text: `{"2"}` of `1011_2`. The grammar drops them."""
    return set(_SUBSCRIPT.findall(text))


def _has_unit(text: str) -> bool:
    """Whether a word or sign that is not mathematics follows a number: `5 cm`, but not `2pi` or `3 sin x`."""
    return _UNIT_SIGN.search(text) is not None and _FUNCTION.search(text) is None


def _has_text_inside(latex: str) -> bool:
    r"""Whether `\text{…}` stands between expressions, where it says something about them: `3 \text{ of } 7`."""
    without_end = re.sub(r"(?:\\(?:text|textbf|textrm|mathrm|mbox)\s*\{[^{}]*\}(?:\^\{?\d\}?)?\s*)+$", "", latex)
    return bool(without_end.strip()) and _TEXT.search(without_end) is not None


def _parse(latex: str) -> list[Expression]:
    from math_verify import LatexExtractionConfig, parse

    values = parse(f"${latex}$", [LatexExtractionConfig()], parsing_timeout=None)
    return [value for value in values if not isinstance(value, str)]
