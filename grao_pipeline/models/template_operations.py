"""Operations of chat templates whose result can be far larger than what they are given: refused beforehand."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

LARGEST = 4_000_000
"""Characters of a text, or items of a list."""
MOST_BITS = 100_000
"""Of a whole number."""
SIZED_FILTERS = ("center", "indent", "wordwrap", "batch", "slice", "truncate", "tojson")
"""Filters with a size as an argument."""
LONG_NUMBER = re.compile(r"\d{7,}")


class TemplateLimit(ValueError):
    """A chat template does more than one that writes a conversation ever needs."""


def check_size(size: int) -> None:
    """Raises TemplateLimit: a text or list of this size is too large."""
    if size > LARGEST:
        raise TemplateLimit(f"it makes a text or list of {size:,} characters or items, more than {LARGEST:,}")


def concatenate(*values: object) -> str:
    """`a ~ b ~ …`"""
    texts = [str(value) for value in values]
    check_size(sum(map(len, texts)))
    return "".join(texts)


def check_method(function: object, arguments: tuple[object, ...]) -> tuple[object, ...]:
    """Check a call of a method of a text; the arguments, iterators among them as lists.

    Raises:
        TemplateLimit: the result would be too large.
    """
    text = getattr(function, "__self__", None)
    if not isinstance(text, str):
        return arguments
    name = getattr(function, "__name__", "")
    arguments = tuple(map(_sized, arguments)) if name == "join" else arguments
    _check_text(name, text, arguments)
    return arguments


def check_filter(name: str, arguments: Sequence[object], named: Mapping[str, object]) -> Sequence[object]:
    """Check a filter; the arguments, iterators among them as lists.

    Raises:
        TemplateLimit: the result would be too large.
    """
    if name == "join":
        arguments = [_sized(arguments[0]), *arguments[1:]]
    value, *others = arguments
    others = [*others, *named.values()]
    if name == "join":
        _check_text("join", str(others[0]) if others else "", [value])
    elif name == "format":
        _check_format(str(value), others)
    elif name == "replace":
        _check_text("replace", str(value), list(map(str, others[:2])))
    elif name == "sum" and any(isinstance(other, list | tuple) for other in others):
        raise TemplateLimit("it adds up lists; write a + b")
    elif name in SIZED_FILTERS:
        lines = str(value).count("\n") + 1 if name in ("indent", "wordwrap") else 1
        for other in others:
            check_size(lines * (len(other) if isinstance(other, str) else _size(other)))
    if name == "wordwrap":
        check_size(10 * len(str(value)))
    return arguments


def bounded_format(wrap: Callable[[Any], Any], method: Any) -> Any:
    """The sandbox's replacement of `str.format`, for texts whose fields are not too wide."""
    wrapped = wrap(method)
    if wrapped is None:
        return None

    def bounded(*arguments: Any, **named: Any) -> Any:
        _check_format(method.__self__, [*arguments, *named.values()], has_named_width="{:{" in method.__self__)
        return wrapped(*arguments, **named)

    return bounded


def _check_text(name: str, text: str, arguments: Sequence[Any]) -> None:
    if name == "join" and arguments:
        items: Iterable[Any] = arguments[0] if hasattr(arguments[0], "__len__") else ()
        sizes = [len(item) if isinstance(item, str) else 0 for item in items]
        check_size(sum(sizes) + len(text) * len(sizes))
    elif name == "replace" and len(arguments) > 1:
        check_size(len(text) + text.count(arguments[0]) * len(arguments[1]))
    elif name == "expandtabs":
        check_size(text.count("\t") * max(map(_size, arguments), default=8))
    else:
        check_size(max(map(_size, arguments), default=0))


def _check_format(form: str, values: Iterable[object], has_named_width: bool = False) -> None:
    if LONG_NUMBER.search(form):
        raise TemplateLimit("it formats a field that is millions of characters wide")
    if "*" in form or has_named_width or re.search(r"\{[^{}]*\{", form):
        check_size(max(map(_size, values), default=0))


def _sized(value: Any) -> object:
    return value if hasattr(value, "__len__") else list(value)


def _size(value: object) -> int:
    return abs(value) if isinstance(value, int) else 0


def _add(left: object, right: object) -> object:
    if hasattr(left, "__len__") and hasattr(right, "__len__"):
        check_size(len(left) + len(right))
    return operator.add(left, right)


def _multiply(left: object, right: object) -> object:
    for value, times in ((left, right), (right, left)):
        if hasattr(value, "__len__") and isinstance(times, int):
            check_size(len(value) * max(times, 0))
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    return operator.mul(left, right)


def _power(left: object, right: object) -> object:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * max(right, 0))
    return operator.pow(left, right)


def _remainder(left: object, right: object) -> object:
    if isinstance(left, str):
        _check_format(left, right if isinstance(right, tuple) else [right])
    return operator.mod(left, right)


def _check_bits(bits: int) -> None:
    if bits > MOST_BITS:
        raise TemplateLimit("it computes with numbers of tens of thousands of digits")


BINARY: dict[str, Callable[[Any, Any], Any]] = {"+": _add, "*": _multiply, "**": _power, "%": _remainder}
