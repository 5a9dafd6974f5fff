"""The seam between the loop and what runs its stages."""

from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from grao_pipeline.options import Processes, StageOptions
from grao_pipeline.processes import StopSignals


class StageResources(StageOptions):
    """What a stage gets: processes of its machine, and with `executor: ray` what it reserves of the cluster."""

    processes: Processes | None = Field(None, description="As the stage's option of this name.")
    nodes: int = Field(1, ge=1, description="Machines that train together, each with what follows.")
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
    """Runs one stage's command at a time, in a separate process; its standard error reaches ours."""

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        """Run `grao ARGUMENTS` and wait for it.

        Raises:
            Interrupted: a stop signal came; the command was asked once to stop, and waited for.
        """
        ...

    def close(self) -> None:
        """Free what is held."""
        ...
