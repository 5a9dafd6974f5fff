"""The seam between the loop and what runs its commands."""

from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import Field

from grao_pipeline.config import StageOptions, parse_options
from grao_pipeline.errors import UsageError
from grao_pipeline.interrupts import StopSignals

STAGES = ("prompts", "curriculum", "generate", "score", "advantages", "train", "evaluate")


class StageResources(StageOptions):
    """What a stage needs of a Ray cluster."""

    num_cpus: float = Field(1.0, ge=0.0, description="CPU cores.")
    num_gpus: float = Field(0.0, ge=0.0, description="GPUs.")
    resources: dict[str, float] = Field(default_factory=dict, description="Custom resources of the cluster, by name.")


ANY_MACHINE = StageResources.model_validate({})


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    stdout: bytes


class Commands(Protocol):
    """Runs one stage's command line at a time, in a process of its own; its standard error reaches ours."""

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        """Run `grao ARGUMENTS` and wait for it.

        Raises:
            Interrupted: a stop signal came; the command was asked once to stop, and waited for.
        """
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


def read_resources(given: dict[str, Any], executor: str, where: str) -> dict[str, StageResources]:
    """The section `resources` of a configuration: stage → what it needs.

    Raises:
        UsageError: a stage or a resource is unknown, or the executor heeds none.
    """
    if given and executor != "ray":
        raise UsageError(f"{where}: resources: only 'executor: ray' heeds them; this run's executor is '{executor}'.")
    unknown = sorted(set(given) - set(STAGES))
    if unknown:
        raise UsageError(f"{where}: resources: {unknown[0]} is not a stage. Stages: {', '.join(STAGES)}.")
    for stage, value in given.items():
        if not isinstance(value, dict):
            raise UsageError(f"{where}: resources: {stage}: expected e.g. num_gpus: 1, found {value!r}.")
    return {
        stage: parse_options(StageResources, value, f"{where}: resources: {stage}") for stage, value in given.items()
    }
