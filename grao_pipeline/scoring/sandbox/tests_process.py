"""The process of the tests: runs them with the completion's objects at the other end of a pipe, and reports verdicts.

It needs only the standard library: `program.py tests ANSWERS REQUESTS < job.json`, with the numbers of two descriptors.
What the tests expect stays here, and so does every comparison.
"""

import builtins
import json
import os
import sys
import types
from typing import Any

from grao_pipeline.scoring.sandbox.completion_process import message_of
from grao_pipeline.scoring.sandbox.confinement import confine
from grao_pipeline.scoring.sandbox.remote_objects import Completion
from grao_pipeline.scoring.sandbox.wire import Unsendable


class Tests:
    """Tests, run in a module in which the completion's names stand for its objects.

    Args:
        names: of the completion's module that the tests use.
    """

    def __init__(self, completion: Completion, names: list[str]) -> None:
        self._completion = completion
        self._names = names
        self._module = types.ModuleType("tests")
        self._received: dict[str, Any] = {}

    def run(self, source: str, index: int) -> str | None:
        """Run a source; why it failed, or None."""
        names = vars(self._module)
        received = self._completion.values([n for n in self._names if names.get(n) is self._received.get(n)])
        if not self._received and any(not hasattr(builtins, name) for name in received):
            # A completion may not replace `len`; only where nothing else of it is tested, it may be about `len`.
            self._names = [name for name in self._names if not hasattr(builtins, name)]
            received = {name: value for name, value in received.items() if name in self._names}
        names.update(received)
        self._received.update(received)
        try:
            exec(compile(source, f"test-{index}.py", "exec"), names)
        except Unsendable:
            raise
        except BaseException as error:
            return message_of(error, source)
        return None


def main() -> None:
    job = json.load(sys.stdin)
    reports = os.dup(1)
    completion = Completion(int(sys.argv[2]), int(sys.argv[3]))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)

    def report(**values: object) -> None:
        os.write(reports, json.dumps(values).encode() + b"\n")

    completion.write(job["completion"])
    limits = job["completion"]
    confine(limits["seconds"], limits["memory_mib"], limits["file_mib"])
    if not completion.read().get("ready"):
        os._exit(1)
    report(ready=True)
    code = completion.read()
    if "failed" in code:
        report(failed=str(code["failed"]))
        os._exit(0)
    report(code=True)
    tests = Tests(completion, job["names"])
    for index, source in enumerate(job["tests"]):
        try:
            failed = tests.run(source, index)
        except Unsendable as error:
            report(unsendable=str(error))
            break
        report(test=index, failed=failed)
    os._exit(0)
