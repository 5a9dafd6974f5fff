"""Stages as child processes of this one."""

import tempfile

from grao_pipeline.children import start_child, stop_child
from grao_pipeline.errors import Interrupted
from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources


class LocalCommands:
    """Each command is a separate process: engines and trainers change the settings of the process they are in, and
    free their memory for certain only by ending."""

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        with tempfile.TemporaryFile() as stdout:
            process = start_child(arguments, stdout.fileno())
            try:
                exit_code = signals.wait(process)
            except Interrupted:
                stop_child(process)
                raise
            stdout.seek(0)
            return Result(exit_code, stdout.read())

    def close(self) -> None:
        pass
