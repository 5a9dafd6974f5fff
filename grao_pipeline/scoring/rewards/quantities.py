r"""Numbers as people and LaTeX write them: `1,234.5`, `9{,}500`, `1.5 × 10^3`, `2 1/2`, `\frac{3}{4}`, `3 million`.

A number is read whole or not at all: `12,3456`, `10:30`, `3-5` and `2^10` are not read, and never as 12, 10, 3 or 2.
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Context, Decimal

# Enough digits for any answer; a number that overflows becomes infinite, and is rejected as not finite.
ARITHMETIC = Context(prec=50, traps=[])
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_THIN = "\u2009"
_SPACES = "\u00a0\u202f\u2009"
_WHOLE_NUMBER = re.compile(
    rf"(?P<western>\d{{1,3}}(?:,\d{{3}})+|\d{{1,2}}(?:,\d{{2}})+,\d{{3}}|\d{{1,3}}(?:[{_SPACES}]\d{{3}})+"
    r"|\d{1,3}(?:['’]\d{3})+|\d+)(?:\.(?P<decimals>\d+))?|\.(?P<bare>\d+)"
    # Points that group thousands are certain where there are two of them, or a comma follows.
    rf"|(?P<points>\d{{1,3}}(?:\.\d{{3}}){{2,}})(?:,(?P<comma>\d+))?|(?P<euro>\d{{1,3}}(?:[.{_SPACES}]\d{{3}})+),(?P<cents>\d{{1,2}})"
)
_RUN = rf"(?:\d+(?:[.,:'’{_SPACES}]\d+)*|\.\d+)"
# A hyphen is a minus sign only where nothing precedes it to subtract from: the last number of `10-3` is 3.
QUANTITY = re.compile(
    rf"(?P<sign>(?<![\w).])[-−–](?:[$€£¥₹]\s?)?)?(?P<run>{_RUN})"
    r"(?:[eE](?P<exponent>[+\-−]?\d+)(?!\w)|\s*(?:×|[xX*·⋅])\s*10\s*(?:\^|\*\*)\s*[{(]?\s*(?P<power>[+\-−]?\d+)\s*[})]?)?"
    rf"(?:(?P<mixed>\s+\d+)?\s*/\s*(?P<denominator>{_RUN})(?![\d/]))?"
    r"(?P<percent>\s*(?:%|percent\b))?"
    rf"(?:\s+(?P<scale>{'|'.join(SCALES)})s?\b)?"
)
_LATEX = [
    (re.compile(r"\\left|\\right|\\!|\\displaystyle|\\boldsymbol|\\bf\b"), ""),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile(r"(?<=\d)(?:\\[,;: ]|~|\\thinspace\b\s?)(?=\d{3}(?!\d))"), _THIN),
    (re.compile(r"\\[,;: ]|~|\\q?quad\b|\\thinspace\b"), " "),
    (re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mathit|mbox|operatorname|bm)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),
    (re.compile(r"\\div\b"), "÷"),
    (re.compile(r"\\pm\b"), "±"),
    (re.compile(r"\\approx\b|\\sim(?:eq)?\b|≃|≅"), "≈"),
    (re.compile(r"\^\s*\{?\s*(?:\\circ|°)\s*\}?"), "°"),
    (re.compile(r"\\[dtc]?frac\s*\{\s*([-−+]?[\d.,]+)\s*\}\s*\{\s*([\d.,]+)\s*\}"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r" \1/\2"),
    (re.compile(r"\\[()\[\]]"), "$"),
]
_GROUPED_BY_SPACES = re.compile(r"(?<![\d.,/])\d{1,3}(?: \d{3})+(?![\d/])")
_SPACED_SIGN = re.compile(r"^(\s*[-−–])\s+(?=\d)")
_VULGAR = re.compile(r"[¼½¾⅐-⅞]")
_EQUATION_END = re.compile(r"[\d\s.,$€£¥₹+\-−–*/×÷·⋅()%^{}xX]*=\s*")
# What makes a number a part of something else: `3 × 4`, `10²`, `5 ± 1`, `3-5`, `3 to 5`.
_CONTINUES = re.compile(
    r"\s*(?:(?:[×÷·⋅*+^:]|(?<=\d)[-–−/])\s*[$€£]?[\d(]|[²³⁰-⁹±]|\^|\s[-−–]\s+\d|(?:-|–|—|to|through)\s*[$€£]?\d)"
)
_ALTERNATIVE = re.compile(r"\s*(?:,\s*|,?\s*(?:or|and|&)\s+)[$€£-]?[\d.,]+%?\s*(?:$|[.;)](?:\s|$)|(?:,|or\b|and\b))")
_LABEL = re.compile(r"\s*(?:[A-Za-z](?:_?\{?\w+\}?)?|[A-Za-z][A-Za-z ]{0,30})\s*(?:[=≈:]|\bis\b)\s*")
_BEFORE = re.compile(
    r"(?:[\s*_$€£¥₹≈=`\"(+]|US(?=\$)|(?:USD|EUR|Rs)\b\.?|(?:about|approximately|roughly|exactly|only|a total of)\b)*",
    re.IGNORECASE,
)
_UNIT_WORD = r"(?!(?:or|and|to|by|out|plus|minus|times|per cent|over|squared|cubed|half|dozen|dozens)\b)"
_UNIT_WORD += r"[^\W\d_²³¹⁰-⁹]+\.?'?"
_SIGNS = r"[\s*_$`\"')}(°%€£¥₹,]*"
_UNIT = re.compile(
    rf"{_SIGNS}(?:[\s\-/·⋅*]*(?:per\b|{_UNIT_WORD})(?:\s*\^\s*\{{?-?[23]\}}?|[23²³])?{_SIGNS}){{0,8}}[\s.*_$`\"')]*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Quantity:
    """A number as the text writes it, e.g. `Quantity(Decimal("12.5"), percent=True)` for `12.5%`."""

    value: Decimal
    percent: bool = False
    scale: int = 0
    """Power of ten of the word after it: 6 for `3 million`."""

    @property
    def scaled(self) -> Decimal:
        """The value with its scale: 3000000 for `3 million`."""
        return self.value.scaleb(self.scale, ARITHMETIC) if self.scale else self.value


def plain(text: str, group_spaces: bool = False) -> str:
    r"""Text with LaTeX's notations of numbers written plainly.

    >>> plain(r"\$9{,}500 = \frac{1}{2} \times \text{19000}")
    '$9,500 =  1/2 × 19000'

    Args:
        group_spaces: whether `9 500` is one number; in a sentence it may be two.
    """
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    if _VULGAR.search(text):
        text = _VULGAR.sub(lambda match: " " + unicodedata.normalize("NFKC", match[0]).replace("⁄", "/"), text)
    if group_spaces:
        text = _GROUPED_BY_SPACES.sub(lambda match: match[0].replace(" ", _THIN), text)
    return text


def whole_quantity(text: str) -> Quantity | None:
    r"""The one number that a text is, with its unit or label (`x = 5`, `about \$18`, `5 km/h`), or None.

    >>> whole_quantity("18 apples"), whole_quantity("5 or 9")
    (Quantity(value=Decimal('18'), percent=False, scale=0), None)
    """
    text = plain(text.strip(), group_spaces=True)
    side, _, rest = text.partition("=")
    number = _leading(side)
    if rest and number is not None and not side[number.end() :].strip() and _differ(number, _leading(rest)):
        return None
    text = _after_equation(text)
    text = _SPACED_SIGN.sub(r"\1", text)
    match = _leading(text)
    return _quantity(match) if match is not None and _UNIT.fullmatch(text, match.end()) else None


def leading_quantity(text: str) -> Quantity | None:
    """The number that a text begins with, after a label (`x =`), a currency or a word such as `about`; or None."""
    text = plain(text, group_spaces=True)
    match = _leading(text)
    return None if match is None else _sound(text, match)


def first_quantity(text: str) -> Quantity | None:
    """The first number of a text; None where it has none, or where that is a part of something else."""
    text = plain(text, group_spaces=True)
    match = QUANTITY.search(text)
    return None if match is None else _sound(text, match)


def last_quantity(text: str) -> Quantity | None:
    """The last number of a text; None where it has none, or where that cannot be read."""
    matches = list(QUANTITY.finditer(plain(text)))
    return _quantity(matches[-1]) if matches else None


def has_number(text: str) -> bool:
    """Whether a text has a number anywhere, readable or not."""
    return QUANTITY.search(text) is not None


def begins_with_number(text: str) -> bool:
    """Whether a text begins with a number, readable or not, as `leading_quantity` looks for it."""
    return _leading(plain(text, group_spaces=True)) is not None


def readings(quantity: Quantity, expected: Quantity) -> list[tuple[Decimal, Decimal]]:
    """The pairs of values to compare. The word after a number counts where both have one, or the expected number does;
    else it may be the unit of the question: `3 million` is accepted for `3000000` and for `3`.
    """
    pairs = [(quantity.scaled, expected.scaled)]
    return pairs if expected.scale or not quantity.scale else [*pairs, (quantity.value, expected.value)]


def _leading(text: str) -> re.Match[str] | None:
    label = _LABEL.match(text)
    before = _BEFORE.match(text, label.end() if label else 0)
    return QUANTITY.match(text, before.end() if before else 0)


def _sound(text: str, match: re.Match[str]) -> Quantity | None:
    """The number of a match, or the result of the equation that it begins; None where it goes on otherwise."""
    while (end := _EQUATION_END.match(text, match.end())) is not None:
        after = _BEFORE.match(text, end.end())
        following = QUANTITY.match(text, after.end() if after else end.end())
        if following is None:
            break
        if text[match.end() : end.end()].strip() == "=" and _differ(match, following):
            return None
        match = following
    if _CONTINUES.match(text, match.end()) or _ALTERNATIVE.match(text, match.end()):
        return None
    return _quantity(match)


def _differ(one: re.Match[str] | None, other: re.Match[str] | None) -> bool:
    """Whether both are numbers, and different ones: `5 = 4` states none. `50% = 0.5` is not compared."""
    left, right = (_quantity(match) if match is not None else None for match in (one, other))
    if left is None or right is None or left.percent != right.percent:
        return False
    return left.scaled != right.scaled


def _after_equation(text: str) -> str:
    """What the last line of a worked solution ends in: ` 18` of `6 + 12 = 18`; the text where it is not an equation."""
    line = text.strip().rpartition("\n")[2]
    sides = line.split("=")
    if len(sides) == 1 or re.search(r"[,;]\s|\b(?:and|or)\b|[<>≤≥≠!]", line):
        return text if len(sides) == 1 else line
    return sides[-1]


def _quantity(match: re.Match[str]) -> Quantity | None:
    value = _decimal(match["run"])
    power = match["exponent"] or match["power"]
    if value is None:
        return None
    if power:
        value = ARITHMETIC.multiply(value, ARITHMETIC.create_decimal(f"1e{power.replace('−', '-')}"))
    if match["denominator"] is not None:
        denominator = _decimal(match["denominator"])
        if denominator is None:
            return None
        if match["mixed"] is None:
            value = ARITHMETIC.divide(value, denominator)
        else:
            numerator = ARITHMETIC.create_decimal(match["mixed"].strip())
            value = ARITHMETIC.add(value, ARITHMETIC.divide(numerator, denominator))
    if not value.is_finite():
        return None
    scale = SCALES[match["scale"]] if match["scale"] else 0
    return Quantity(value.copy_negate() if match["sign"] else value, match["percent"] is not None, scale)


def _decimal(run: str) -> Decimal | None:
    """The value of a run of digits and separators; None where it is not a number."""
    match = _WHOLE_NUMBER.fullmatch(run)
    if match is None:
        return None
    if match["bare"]:
        return ARITHMETIC.create_decimal(f"0.{match['bare']}")
    whole = match["western"] or match["points"] or match["euro"]
    decimals = match["decimals"] or match["comma"] or match["cents"]
    digits = re.sub(r"\D", "", whole)
    return ARITHMETIC.create_decimal(f"{digits}.{decimals}" if decimals else digits)
