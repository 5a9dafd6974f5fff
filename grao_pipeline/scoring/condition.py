"""Conditions over the metadata of a row (`--when`), e.g. `task == "code" and level >= 3`.

Allowed are fields, texts, numbers, lists, `true`, `false`, `null`, comparisons, `in`, `not in`, `and`, `or`, `not` and
parentheses; nothing is executed.

- `source.name` is a field of a field; a name with other characters than letters, digits, `_` and `-` is written in
  backticks: `` `data source` ``.
- A field that the row lacks is null. A field alone is true where the row has it, and it is neither null nor false; 0
  and the empty text count as present.
- `<`, `<=`, `>`, `>=` order two numbers or two texts. With null they are false; anything else is an error.
- `in` looks for an element of a list, a key of an object, or a text inside a text. In null there is nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from grao_pipeline.scoring.metadata import field_value

Metadata = Mapping[str, Any]
Value = Callable[[Metadata], object]
"""What a part of a condition is worth in a row."""

TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<name>`[^`]+`)
      | (?P<word>[^\W\d][\w-]*)
      | (?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,|\.)
    )""",
    re.VERBOSE | re.DOTALL,
)
CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
COMPARISONS = ("==", "!=", *ORDERS)
KEYWORDS = ("and", "or", "not", "in")
DEEPEST = 50
EXAMPLE = 'e.g. task == "code", level >= 3, source.name in ["a", "b"], not tests'
MISTAKES = {"=": "write == to compare", "&": "write and", "|": "write or", "!": "write not, or !="}


class ConditionError(ValueError):
    """A condition that cannot be read, or that does not fit a row. Its text says where and why."""


@dataclass(frozen=True)
class Condition:
    """A condition.

    Example: `Condition.parse('task == "code"').applies_to({"task": "code"})` → True
    """

    text: str
    """The condition with single spaces: the same for the same condition."""
    value: Value
    fields: tuple[str, ...] = ()
    """The names of the fields that it reads, in order."""

    @staticmethod
    def parse(text: str) -> "Condition":
        """Read a condition.

        Raises:
            ConditionError: names the column of what is wrong.
        """
        parser = _Parser(text)
        return Condition(parser.text, parser.condition(), tuple(dict.fromkeys(parser.fields)))

    def applies_to(self, metadata: Metadata) -> bool:
        """Whether the condition is true of a row.

        Raises:
            ConditionError: two values of the row cannot be ordered.
        """
        return _is_true(self.value(metadata))


@dataclass(frozen=True)
class _Token:
    """A word, number, text or sign, and the column where it begins."""

    kind: str
    text: str
    column: int


class _Parser:
    """Recursive descent: or → and → not → comparison → operand."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), _Token("end", "the end", len(text) + 1)]
        self._position = 0
        self._depth = 0
        self.text = " ".join(token.text for token in self._tokens[:-1])
        self.fields: list[str] = []

    def condition(self) -> Value:
        value = self._either()
        if self._next.kind != "end":
            raise self._error("expected and, or, or a comparison")
        return value

    @property
    def _next(self) -> _Token:
        return self._tokens[self._position]

    def _accept(self, *texts: str) -> str | None:
        """The next token's text, which is then read, if it is one of these signs or keywords."""
        token = self._next
        if token.kind not in ("sign", "word") or token.text not in texts:
            return None
        self._position += 1
        return token.text

    def _error(self, problem: str) -> ConditionError:
        return ConditionError(f"column {self._next.column}: {problem}, not {self._next.text} ({EXAMPLE})")

    def _either(self) -> Value:
        parts = [self._both()]
        while self._accept("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda row: any(_is_true(part(row)) for part in parts)

    def _both(self) -> Value:
        parts = [self._negation()]
        while self._accept("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda row: all(_is_true(part(row)) for part in parts)

    def _negation(self) -> Value:
        count = 0
        while self._accept("not"):
            count += 1
        value = self._comparison()
        if count == 0:
            return value
        return lambda row: _is_true(value(row)) == (count % 2 == 0)

    def _comparison(self) -> Value:
        """One or several comparisons in a row: `1 < level <= 3`."""
        column = self._next.column
        operands, names = [self._operand()], []
        while name := self._comparison_name():
            names.append(name)
            operands.append(self._operand())
        if not names:
            return operands[0]

        def holds(row: Metadata) -> bool:
            values = [operand(row) for operand in operands]
            return all(_compare(name, *pair, column) for name, pair in zip(names, pairwise(values), strict=True))

        return holds

    def _comparison_name(self) -> str | None:
        if name := self._accept(*COMPARISONS, "in"):
            return name
        following = self._tokens[min(self._position + 1, len(self._tokens) - 1)]
        if self._next.text == "not" and self._next.kind == "word" and following.text == "in":
            self._position += 2
            return "not in"
        return None

    def _operand(self) -> Value:
        token = self._next
        if self._accept("("):
            return self._nested(self._either, ")")
        if self._accept("["):
            return self._nested(self._list, "]")
        if token.kind not in ("number", "text", "word", "name") or token.text in KEYWORDS:
            raise self._error("expected a field, a text, a number or a list")
        self._position += 1
        if token.kind == "name" or (token.kind == "word" and token.text not in CONSTANTS):
            return self._field(token.text.strip("`"))
        constant: object = CONSTANTS.get(token.text)
        if token.kind == "number":
            constant = float(token.text) if re.search("[.eE]", token.text) else int(token.text)
        if token.kind == "text":
            constant = re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        return lambda row: constant

    def _nested(self, read: Callable[[], Value], end: str) -> Value:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"expected at most {DEEPEST} levels of parentheses")
        value = read()
        if not self._accept(end):
            raise self._error(f"expected {end}")
        self._depth -= 1
        return value

    def _list(self) -> Value:
        elements: list[Value] = []
        while self._next.text != "]":
            elements.append(self._operand())
            if not self._accept(","):
                break
        return lambda row: [element(row) for element in elements]

    def _field(self, name: str) -> Value:
        """`name.of.field`: a key of the metadata that has dots, or a path through objects."""
        while self._accept("."):
            if self._next.kind not in ("word", "name"):
                raise self._error("expected the name of a field")
            name += f".{self._next.text.strip('`')}"
            self._position += 1
        self.fields.append(name)
        return lambda row: field_value(row, name)


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            position += len(text[position:]) - len(text[position:].lstrip())
            raise ConditionError(f"column {position + 1}: {_mistake(text[position:])} ({EXAMPLE})")
        kind = str(match.lastgroup)
        yield _Token(kind, match[kind], match.start(kind) + 1)
        position = match.end()


def _mistake(rest: str) -> str:
    """What is wrong with a text that no token begins."""
    if rest[0] in "'\"`":
        return f"the text has no closing {rest[0]}"
    return f"{rest[0]!r} has no meaning here{'; ' if rest[0] in MISTAKES else ''}{MISTAKES.get(rest[0], '')}"


def _is_true(value: object) -> bool:
    return value is not None and value is not False


def _compare(name: str, left: object, right: object, column: int) -> bool:
    if name in ("==", "!="):
        return _equal(left, right) == (name == "==")
    if name in ("in", "not in"):
        return _contains(right, left, column) == (name == "in")
    if left is None or right is None:
        return False
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right))
    if are_numbers or (isinstance(left, str) and isinstance(right, str)):
        return ORDERS[name](left, right)
    raise ConditionError(f"column {column}: {left!r} {name} {right!r} compares values that have no common order")


def _equal(left: object, right: object) -> bool:
    """Python's equality, except that true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _contains(container: object, value: object, column: int) -> bool:
    if container is None:
        return False
    if isinstance(container, str) and (value is None or isinstance(value, str)):
        return value is not None and value in container
    if isinstance(container, list | Mapping):
        return any(_equal(element, value) for element in container)
    raise ConditionError(f"column {column}: {container!r} is not a list, so nothing can be in it")
