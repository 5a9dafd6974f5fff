"""The process of a completion: runs its code, and then does with its objects what the process of the tests asks for.

It needs only the standard library. The first line of standard input is the job; without tests, requests follow. What
this process says counts as values alone: no verdict is formed in it, and no expected value reaches it, except with
tests that cannot be split from the code (`together`).
"""

import builtins
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from grao_pipeline.scoring.sandbox.confinement import confine
from grao_pipeline.scoring.sandbox.wire import MUTABLE, OPERATIONS, decode, encode, plain_base

LONGEST_MESSAGE = 200


def message_of(error: BaseException, test: str | None = None) -> str:
    """A failure for people; for an assertion without message, its source."""
    try:
        text = str(error)
    except Exception:
        text = ""
    if isinstance(error, AssertionError) and not text and test is not None:
        text = test.strip()
    return f"{type(error).__name__}: {text}"[:LONGEST_MESSAGE]


class Channel:
    """Requests and answers, one JSON object a line, over two descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = os.fdopen(source, "rb")
        self._sink = sink

    def read(self) -> Any:
        """The next message; ends the process at the end of the input."""
        line = self._source.readline()
        if not line.endswith(b"\n"):
            os._exit(0)
        return json.loads(line)

    def write(self, message: object) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(self._sink, data) :]


class CompletionServer:
    """Serves the objects of a module.

    Args:
        module: the completion's, after its code has run.
    """

    def __init__(self, channel: Channel, module: types.ModuleType) -> None:
        self._channel = channel
        self._module = module
        self._objects: list[object] = []
        self._numbers: dict[int, int] = {}

    def serve(self) -> None:
        """Answer requests until the input ends."""
        while True:
            self._answer(self._channel.read())

    def _answer(self, request: Any) -> None:
        try:
            if "names" in request:
                values = {name: getattr(self._module, name) for name in request["names"] if hasattr(self._module, name)}
                answer: dict[str, object] = {"values": {name: self._encode(value) for name, value in values.items()}}
            else:
                answer = self._performed(request)
        except BaseException as error:
            answer = {"raised": self._refer(error), "text": message_of(error).partition(": ")[2]}
        self._channel.write(answer)

    def _performed(self, request: Any) -> dict[str, object]:
        arguments = [decode(argument, self._resolve) for argument in request["arguments"]]
        named = {name: decode(argument, self._resolve) for name, argument in request["named"].items()}
        value = OPERATIONS[request["operation"]](*arguments, **named)
        changed = {}
        for index, argument in enumerate(arguments):
            if isinstance(argument, MUTABLE) and "mine" not in request["arguments"][index]:
                after = self._encode(argument)
                if after != request["arguments"][index]:
                    changed[index] = after
        return {"value": self._encode(value), "changed": changed}

    def _encode(self, value: object) -> object:
        return encode(value, self._refer)

    def _refer(self, value: object) -> object:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        if isinstance(value, TheirCallable):
            return {"theirs": value.number}
        described: dict[str, object] = {"object": number}
        kind = value if isinstance(value, type) else type(value)
        if issubclass(kind, BaseException):
            described["error"] = [base.__name__ for base in kind.__mro__]
            described["is_class"] = kind is value
        elif kind is not value:
            described["base"] = plain_base(value, self._refer)
        return described

    def _resolve(self, reference: dict[str, Any]) -> object:
        if "mine" in reference:
            return self._objects[reference["mine"]]
        if "builtin" in reference:
            module, name = reference["builtin"]
            return getattr(sys.modules.get(module) or __import__(module), name)
        if "iterator" in reference:
            return self._items(reference["iterator"])
        return TheirCallable(self._call_back, reference["function"])

    def _items(self, number: int) -> Iterator[object]:
        while True:
            try:
                yield self._call_back(number, (), {})
            except StopIteration:
                return

    def _call_back(self, number: int, arguments: tuple[object, ...], named: dict[str, object]) -> object:
        encoded = {name: self._encode(value) for name, value in named.items()}
        self._channel.write({"call": number, "arguments": [self._encode(a) for a in arguments], "named": encoded})
        while True:
            message = self._channel.read()
            if "returned" in message:
                return decode(message["returned"], self._resolve)
            if "failed" in message:
                kind = getattr(builtins, message["failed"], None)
                if not isinstance(kind, type) or not issubclass(kind, BaseException):
                    kind = RuntimeError
                raise kind(message["text"])
            self._answer(message)


class TheirCallable:
    """A function of the tests, e.g. a key of a sort."""

    def __init__(self, call: Callable[[int, tuple[object, ...], dict[str, object]], object], number: int) -> None:
        self._call = call
        self.number = number

    def __call__(self, *arguments: object, **named: object) -> object:
        return self._call(self.number, arguments, named)


def compiled_test(source: str, index: int) -> types.CodeType:
    """The code of a test; where it is not Python, code that raises the error."""
    try:
        return compile(source, f"test-{index}.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return compile(f"raise {type(error).__name__}({str(error)!r})", f"test-{index}.py", "exec")


def main() -> None:
    os.environ.pop("PWD", None)  # bubblewrap sets it
    channel = Channel(os.dup(0), os.dup(1))
    job = channel.read()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    nonce, together, leave, run = job["nonce"], job["together"], os._exit, exec
    compiled = [compiled_test(test, index) for index, test in enumerate(together or [])]
    module = types.ModuleType("completion")
    sys.modules["completion"] = module
    confine(job["seconds"], job["memory_mib"], job["file_mib"])
    channel.write({"nonce": nonce, "ready": True})
    try:
        run(compile(job["code"], "completion.py", "exec"), module.__dict__)
    except BaseException as error:
        channel.write({"nonce": nonce, "failed": message_of(error)})
        leave(0)
    channel.write({"nonce": nonce, "code": True})
    if together is None:
        CompletionServer(channel, module).serve()
    for index, test in enumerate(compiled):
        try:
            run(test, module.__dict__)
        except BaseException as error:
            channel.write({"nonce": nonce, "test": index, "failed": message_of(error, together[index])})
        else:
            channel.write({"nonce": nonce, "test": index, "failed": None})
    leave(0)
