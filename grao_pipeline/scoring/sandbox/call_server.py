"""The worker process of `LimitedCalls`: one JSON request per line in, one JSON answer per line out.

A module's `prepare()`, if it has one, is called before the first request, outside the time limit.
"""

import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable

LONGEST_REASON = 500
WALL_CLOCK_FACTOR = 4


def serve(function: Callable[..., object], seconds: float) -> None:
    """Answer until standard input ends. The timers kill this process if a call exceeds its time.

    Standard output is reserved for the answers; the function's own output goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for timer_signal in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(timer_signal, signal.SIG_DFL)
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WALL_CLOCK_FACTOR * seconds)
        try:
            answer = {"value": function(**request)}
        except Exception as error:  # any error of the function is the answer to its request
            answer = {"error": f"{type(error).__name__}: {error}"[:LONGEST_REASON]}
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    target, seconds, memory_mib = sys.argv[1:]
    module, _, name = target.partition(":")
    functions = importlib.import_module(module)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_mib) << 20,) * 2)
    if hasattr(functions, "prepare"):
        functions.prepare()
    serve(getattr(functions, name), float(seconds))


if __name__ == "__main__":
    main()
