"""The process of a lane: reads commands, runs each with an executor, and answers how it ended."""

import json
import os
import sys
import time
from contextlib import closing, suppress

from grao_pipeline.children import stop_with_parent
from grao_pipeline.errors import GraoError
from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors import make_commands
from grao_pipeline.rounds.executors.base import StageResources


def serve(executor: str) -> None:
    """Run every command that a line of standard input names, until one fails or there are no more.

    Raises:
        GraoError: the executor cannot be used, or a stop signal came.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is not an answer
    with StopSignals() as signals, closing(make_commands(executor)) as commands:
        for line in signals.interruptible(iter(sys.stdin.buffer.readline, b"")):
            request = json.loads(line)
            started = time.perf_counter()
            result = commands.run(request["arguments"], StageResources(**request["resources"]), signals)
            seconds = time.perf_counter() - started
            answer = {"exit_code": result.exit_code, "stdout": result.stdout.decode(), "seconds": seconds}
            with suppress(BrokenPipeError):  # the rounds have ended
                print(json.dumps(answer), file=answers, flush=True)
            if result.exit_code != 0:
                return


def main() -> int:
    """Exit code 1 where a stop signal came, or what the executor needs is not there."""
    stop_with_parent()
    try:
        serve(sys.argv[1])
    except GraoError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
