"""The seam between the loop and what runs its commands."""

from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from grao_pipeline.options import StageOptions
from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.config.sections import parse_section
from grao_pipeline.rounds.config.yaml_lines import Node

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


def read_resources(section: Node, executor: str) -> dict[str, StageResources]:
    """The section `resources` of a configuration: stage → what it needs.

    Raises:
        UsageError: a stage or a resource is unknown, or the executor heeds none.
    """
    stages = section.entries("resources: expected stages with what they need")
    if stages and executor != "ray":
        raise section.error(f"resources: only 'executor: ray' heeds them; this run's executor is '{executor}'.")
    for stage, node in stages.items():
        if stage not in STAGES:
            raise node.error(f"resources: {stage} is not a stage. Stages: {', '.join(STAGES)}.")
        node.entries(f"resources: {stage}: expected e.g. num_gpus: 1")
    return {stage: parse_section(StageResources, node, f"resources: {stage}") for stage, node in stages.items()}
