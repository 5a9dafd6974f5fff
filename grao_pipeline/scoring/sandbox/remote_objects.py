"""The completion's objects, as the tests see them: everything that is done with one is done in its own process.

Only the standard library is used: the process of the tests has no other.
"""

import builtins
import json
import os
from collections.abc import Callable
from typing import Any

from grao_pipeline.scoring.sandbox.wire import Unsendable, decode, encode, update, words

COMPLETION_ENDED = 77
"""Exit code of the tests' process where the completion's has ended before it answered."""
FORWARDED = {
    **{f"__{name}__": name for name in words("iter next len str repr bool int float complex index abs neg pos invert")},
    **{f"__{name}__": name for name in words("getitem setitem delitem contains add sub mul truediv floordiv mod")},
    **{f"__{name}__": name for name in words("divmod pow matmul lshift rshift xor round format reversed")},
    "__and__": "and_",
    "__or__": "or_",
    "__enter__": "enter",
    "__exit__": "exit",
    "__call__": "call",
}
REFLECTED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift", "rshift", "xor", "divmod")


class Completion:
    """The completion's process.

    Args:
        source, sink: descriptors of its answers and its requests.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source = os.fdopen(source, "rb")
        self._sink = os.fdopen(sink, "wb")
        self._functions: list[Callable[..., Any]] = []
        self._errors: dict[tuple[str, ...], type[BaseException]] = {}

    def read(self) -> Any:
        """The next message; without one, this process ends: nothing may take a dead completion for an answer."""
        try:
            line = self._source.readline()
            if line.endswith(b"\n"):
                return json.loads(line)
        except (OSError, ValueError, RecursionError):
            pass
        os._exit(COMPLETION_ENDED)

    def write(self, message: object) -> None:
        try:
            self._sink.write(json.dumps(message).encode() + b"\n")
            self._sink.flush()
        except OSError:
            os._exit(COMPLETION_ENDED)

    def values(self, names: list[str]) -> dict[str, object]:
        """The values of those names that the completion's module has."""
        self.write({"names": names})
        answer = self.read()
        if "values" not in answer:
            return {}
        return {str(name): decode(value, self._resolve) for name, value in answer["values"].items()}

    def perform(self, operation: str, *arguments: object, **named: object) -> object:
        """Do something with the completion's objects.

        Raises:
            BaseException: what the completion raised, as the nearest class that Python has.
        """
        encoded = [self._encode(argument) for argument in arguments]
        named = {name: self._encode(argument) for name, argument in named.items()}
        self.write({"operation": operation, "arguments": encoded, "named": named})
        while True:
            answer = self.read()
            if "raised" in answer:
                raise self._error(answer)
            if "value" in answer:
                for index, value in dict(answer.get("changed") or {}).items():
                    update(arguments[int(index)], decode(value, self._resolve))
                return decode(answer["value"], self._resolve)
            self._call_back(answer)

    def _error(self, answer: dict[str, Any]) -> BaseException:
        kind, text = self._resolve(answer["raised"]), str(answer.get("text", ""))
        try:
            error = kind(text)
        except TypeError:  # of a class that wants other arguments
            error = None
        return error if isinstance(error, BaseException) else RuntimeError(text)

    def _call_back(self, request: Any) -> None:
        function = self._functions[request["call"]]
        try:
            arguments = [decode(argument, self._resolve) for argument in request["arguments"]]
            named = {str(name): decode(value, self._resolve) for name, value in request["named"].items()}
            self.write({"returned": self._encode(function(*arguments, **named))})
        except Unsendable:
            raise
        except Exception as error:
            self.write({"failed": type(error).__name__, "text": str(error)})

    def _encode(self, value: object) -> object:
        return encode(value, self._refer)

    def _refer(self, value: Any) -> object:
        if type(value) is RemoteObject:
            return {"mine": number_of(value)}
        remote = getattr(type(value), "remote", None) or getattr(value, "remote", None)
        if isinstance(remote, RemoteObject):  # a class or an instance of the completion's errors
            return {"mine": number_of(remote)}
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if module == "builtins" and getattr(builtins, name, None) is value:
            return {"builtin": [module, name]}
        if callable(value):
            return {"function": self._number(value)}
        if hasattr(type(value), "__next__"):
            return {"iterator": self._number(lambda: next(value))}
        raise Unsendable(f"{type(value).__name__} cannot be passed to the process of the completion")

    def _number(self, function: Callable[..., object]) -> int:
        self._functions.append(function)
        return len(self._functions) - 1

    def _resolve(self, reference: dict[str, Any]) -> Any:
        if "theirs" in reference:
            return self._functions[reference["theirs"]]
        remote = RemoteObject(self, int(reference["object"]), decode(reference.get("base"), self._resolve))
        if "error" not in reference:
            return remote
        names = tuple(map(str, reference["error"]))
        kind = self._error_class(names)
        if reference.get("is_class"):
            if names in self._errors:
                kind.remote = remote  # type: ignore[attr-defined]
            return kind
        return type(names[0], (kind,), {"remote": remote, "__getattr__": lambda _, name: getattr(remote, name)})

    def _error_class(self, names: tuple[str, ...]) -> type[BaseException]:
        """A class of errors: Python's, or one that stands for the completion's, the same for the same bases."""
        if not names:
            return Exception
        known = getattr(builtins, names[0], None)
        if isinstance(known, type) and issubclass(known, BaseException):
            return known
        if names not in self._errors:
            self._errors[names] = type(names[0], (self._error_class(names[1:]),), {})
        return self._errors[names]


class RemoteObject:
    """An object of the completion. It equals no object of the tests, unless it holds a plain value, which decides."""

    __slots__ = ("_base", "_completion", "_number")

    def __init__(self, completion: Completion, number: int, base: object) -> None:
        object.__setattr__(self, "_completion", completion)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_base", base)

    @property  # type: ignore[misc]  # so that isinstance knows an enumeration's plain type
    def __class__(self) -> type:
        base = base_of(self)
        return RemoteObject if base is None else type(base)

    def __getattr__(self, name: str) -> object:
        return perform(self, "getattr", name)

    def __setattr__(self, name: str, value: object) -> None:
        perform(self, "setattr", name, value)

    def __delattr__(self, name: str) -> None:
        perform(self, "delattr", name)

    def __eq__(self, other: object) -> bool:
        if type(other) is RemoteObject:
            return number_of(self) == number_of(other) or bool(perform(self, "eq", other))
        base = base_of(self)
        return base is not None and bool(base == other)

    def __hash__(self) -> int:
        base = base_of(self)
        return hash(number_of(self) if base is None else base)

    def __instancecheck__(self, instance: object) -> bool:
        is_remote = type(instance) is RemoteObject or hasattr(type(instance), "remote")
        return is_remote and bool(completion_of(self).perform("isinstance", instance, self))

    def __subclasscheck__(self, subclass: object) -> bool:
        return type(subclass) is RemoteObject and bool(completion_of(self).perform("issubclass", subclass, self))


def completion_of(remote: object) -> Completion:
    completion: Completion = object.__getattribute__(remote, "_completion")
    return completion


def number_of(remote: object) -> int:
    number: int = object.__getattribute__(remote, "_number")
    return number


def base_of(remote: object) -> object:
    return object.__getattribute__(remote, "_base")


def perform(remote: RemoteObject, operation: str, *arguments: object, **named: object) -> object:
    return completion_of(remote).perform(operation, remote, *arguments, **named)


def _forward(operation: str) -> Callable[..., object]:
    def method(self: RemoteObject, *arguments: object, **named: object) -> object:
        return perform(self, operation, *arguments, **named)

    return method


def _reflect(operation: str) -> Callable[..., object]:
    def method(self: RemoteObject, other: object) -> object:
        return completion_of(self).perform(operation, other, self)

    return method


def _compare(operation: str) -> Callable[..., object]:
    """An order with a value of the tests is that of the plain value: an object cannot say that it is close enough."""

    def method(self: RemoteObject, other: object) -> object:
        if type(other) is RemoteObject:
            return perform(self, operation, other)
        base = base_of(self)
        return NotImplemented if base is None else getattr(base, f"__{operation}__")(other)

    return method


for _name, _operation in FORWARDED.items():
    setattr(RemoteObject, _name, _forward(_operation))
for _operation in REFLECTED:
    setattr(RemoteObject, f"__r{_operation}__", _reflect(_operation))
for _operation in ("lt", "le", "gt", "ge"):
    setattr(RemoteObject, f"__{_operation}__", _compare(_operation))
