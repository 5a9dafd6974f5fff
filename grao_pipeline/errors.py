"""Every error that a user can cause, in one tree.

    GraoError
    ├── UsageError         an option, or a combination of options, that cannot work (exit code 2)
    ├── InputError         a file, table, row or model that is missing, unreadable or not what it should be
    │   ├── SchemaError    a table lacks a column or holds a value of the wrong type
    │   ├── DamagedPart    a committed file whose bytes are not the bytes that were written
    │   └── MismatchError  two inputs, or an output and its inputs, that do not belong together
    ├── MissingDependency  an optional package is not installed; the message holds the pip command
    ├── StageFailure       the work itself failed (an engine died, training diverged)
    │   └── StoppedElsewhere  another rank of a training failed, and says why
    └── Interrupted        a signal asked the stage to stop; what was finished is saved

A message says what is wrong, which value, and what to do. The commands print it without a traceback; any other
exception is a bug of ours and keeps its traceback.
"""

from grao_pipeline.redaction import without_credentials

LONGEST_MESSAGE = 3_000
"""Characters: a message that quotes a value quotes its beginning."""


class GraoError(Exception):
    """Base of every error that this library raises on purpose. Its message is bounded, and holds no credentials of
    URLs."""

    def __init__(self, message: str = "") -> None:
        super().__init__(shortened(without_credentials(message)))


def shortened(message: str, most: int = LONGEST_MESSAGE) -> str:
    """A message of bounded length: its end is left, which says what to do."""
    return message if len(message) <= most else f"{message[: most - 500]} … {message[-500:]}"


class UsageError(GraoError):
    """An option, or a combination of options, that cannot work.

    The message does not name `option`: its reader is shown it as he writes it, `--reward-arg` on a command line,
    `rounds.yaml:9: score.reward_arg` in YAML, `reward_arg` in Python.

    Example: `UsageError("expected key=value, found 'limit'.", option="reward_arg")`
    """

    def __init__(self, message: str, *, option: str = "") -> None:
        super().__init__(message)
        self.option = option
        """The field of the options model that is wrong, e.g. `reward_arg`; empty where no single one is."""

    @property
    def message(self) -> str:
        """The text without the option."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.option}: {self.message}" if self.option else self.message


class InputError(GraoError):
    """A file, table, row or model that is missing, unreadable or not what it should be."""


class SchemaError(InputError):
    """A table lacks a column, or a column holds a value that the contract does not allow."""


class DamagedPart(InputError):
    """A committed part, manifest or record whose bytes are not the bytes that were written."""


class MismatchError(InputError):
    """Two inputs, or an output directory and its inputs, that do not belong together."""


class MissingDependency(GraoError):
    """An optional package is not installed."""


class StageFailure(GraoError):
    """The work itself failed, although the inputs were in order."""


class StoppedElsewhere(StageFailure):
    """Another rank of a training failed, and says why; this one has nothing to add."""


class Interrupted(GraoError):
    """A signal (SIGTERM, SIGINT) asked the stage to stop."""
