"""Where the stages' commands run: on this machine, or on a Ray cluster. One file each."""

from grao_pipeline.plugins import load
from grao_pipeline.rounds.executors.base import Commands

EXECUTORS = {
    "resident": "grao_pipeline.rounds.executors.resident:ResidentCommands",
    "local": "grao_pipeline.rounds.executors.local:LocalCommands",
    "ray": "grao_pipeline.rounds.executors.ray:RayCommands",
}


def make_commands(executor: str) -> Commands:
    """Raises MissingDependency or StageFailure where the executor cannot be used."""
    commands: Commands = load("executor", executor, EXECUTORS)()
    return commands
