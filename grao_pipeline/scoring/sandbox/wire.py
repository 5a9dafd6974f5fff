"""Values between the process of the tests and that of the completion: plain ones as copies, all others by reference.

Only the standard library is used: the processes that import this have no other. A copy is made of what was received,
by the receiver, so an object of the completion never decides what it is equal to.
"""

import builtins
import collections
import importlib
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


MOST_LEVELS = 40
"""Deeper values are passed by reference."""
SMALL = 1 << 53
MUTABLE = (list, dict, set, bytearray, collections.deque)
PLAIN_BASES = (str, int, float, tuple, list, dict, set, frozenset, bytes)
SAFE_MODULES = frozenset(
    words(
        "math cmath collections itertools functools heapq bisect string re operator datetime decimal fractions "
        "statistics json copy random typing time"
    )
)
"""Those that tests may use because the completion imports them."""

_COPIES: dict[str, Callable[[Any], tuple[object, ...]]] = {
    "builtins.complex": lambda v: (v.real, v.imag),
    "builtins.range": lambda v: (v.start, v.stop, v.step),
    "builtins.bytes": lambda v: (list(v),),
    "builtins.bytearray": lambda v: (list(v),),
    "decimal.Decimal": lambda v: (str(v),),
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.datetime": lambda v: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond),
    "datetime.time": lambda v: (v.hour, v.minute, v.second, v.microsecond),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "collections.deque": lambda v: (list(v),),
    "collections.Counter": lambda v: (dict(v),),
    "collections.OrderedDict": lambda v: (dict(v),),
}
"""Type, by its name (importing the modules takes longer than a test) → the arguments that make an equal value."""

OPERATIONS: dict[str, Callable[..., Any]] = {
    name: getattr(builtins, name)
    for name in words(
        "iter next len str repr bool int float complex abs round format isinstance issubclass getattr setattr "
        "delattr divmod pow reversed"
    )
} | {
    name: getattr(operator, name)
    for name in words(
        "index contains getitem setitem delitem add sub mul truediv floordiv mod matmul and_ or_ xor lshift rshift "
        "neg pos invert eq ne lt le gt ge call"
    )
    if hasattr(operator, name)
}
OPERATIONS["call"] = lambda function, *arguments, **named: function(*arguments, **named)
OPERATIONS["enter"] = lambda value: type(value).__enter__(value)
OPERATIONS["exit"] = lambda value, *error: type(value).__exit__(value, *error)


class Unsendable(TypeError):
    """A value of the tests that cannot be passed to another process."""


def encode(value: object, refer: Callable[[object], object], level: int = 0) -> object:
    """A value as JSON.

    Args:
        refer: gives the reference of a value that is not a plain one.
    """
    kind = type(value)
    if value is None or kind in (bool, str) or (kind is int and -SMALL < value < SMALL):  # type: ignore[operator]
        return value
    if kind is int:
        return {"int": hex(value)}  # type: ignore[arg-type]
    if kind is float:
        return {"float": float.hex(value)}  # type: ignore[arg-type]
    if level < MOST_LEVELS:
        if kind in (list, tuple, set, frozenset):
            return {kind.__name__: [encode(item, refer, level + 1) for item in value]}  # type: ignore[attr-defined]
        if kind is dict:
            pairs: Any = dict.items(value)  # type: ignore[arg-type]
            return {"dict": [[encode(k, refer, level + 1), encode(v, refer, level + 1)] for k, v in pairs]}
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in _COPIES and getattr(value, "tzinfo", None) is None:
            return {"make": name, "from": [encode(a, refer, level + 1) for a in _COPIES[name](value)]}
    if kind is ModuleType and getattr(value, "__name__", "") in SAFE_MODULES:
        return {"module": value.__name__}  # type: ignore[attr-defined]
    return refer(value)


def decode(value: Any, resolve: Callable[[dict[str, Any]], object]) -> object:
    """The value of `encode`.

    Args:
        resolve: gives the object of a reference.
    """
    if not isinstance(value, dict):
        return value
    if "int" in value:
        return int(value["int"], 16)
    if "float" in value:
        return float.fromhex(value["float"])
    for name, make in (("list", list), ("tuple", tuple), ("set", set), ("frozenset", frozenset)):
        if name in value:
            return make(decode(item, resolve) for item in value[name])
    if "dict" in value:
        return {decode(key, resolve): decode(item, resolve) for key, item in value["dict"]}
    if "make" in value:
        module, _, name = value["make"].rpartition(".")
        if value["make"] in _COPIES:
            kind = getattr(importlib.import_module(module), name)
            return kind(*(decode(argument, resolve) for argument in value["from"]))
    if "module" in value and value["module"] in SAFE_MODULES:
        return importlib.import_module(value["module"])
    return resolve(value)


def update(old: Any, new: Any) -> None:
    """Make a mutable value equal to another one of its type, in place."""
    if isinstance(old, list):
        for index, (mine, theirs) in enumerate(zip(old, new, strict=False)):
            if type(mine) is type(theirs) and isinstance(mine, MUTABLE):
                update(mine, theirs)
            else:
                old[index] = theirs
        del old[len(new) :]
        old += new[len(old) :]
    elif isinstance(old, dict):
        for key in [key for key in old if key not in new]:
            del old[key]
        for key, theirs in new.items():
            mine = old.get(key)
            if type(mine) is type(theirs) and isinstance(mine, MUTABLE):
                update(mine, theirs)
            else:
                old[key] = theirs
    elif isinstance(old, bytearray):
        old[:] = new
    else:
        old.clear()
        old.update(new) if isinstance(old, set) else old.extend(new)


def plain_base(value: object, refer: Callable[[object], object]) -> object:
    """Of an instance of a subclass of a plain type (an enumeration, a named tuple): the plain value, encoded; else
    None. The type gives it: the instance does not decide what it holds.
    """
    for base in PLAIN_BASES:
        if isinstance(value, base) and type(value) is not base:
            get: Any = base
            if hasattr(base, "__getnewargs__"):
                (plain,) = get.__getnewargs__(value)
            else:
                plain = base(get.items(value) if base is dict else get.__iter__(value))
            return encode(plain, refer, MOST_LEVELS - 5)
    return None
