"""The section `resources`: what the stages need of a Ray cluster."""

from grao_pipeline.pipeline import stages
from grao_pipeline.rounds.config.sections import parse_section
from grao_pipeline.rounds.config.yaml_lines import Node
from grao_pipeline.rounds.executors.base import StageResources


def read_resources(section: Node, executor: str) -> dict[str, StageResources]:
    """Stage → what it needs.

    Raises:
        UsageError: a stage or a resource is unknown, or the executor uses no resources.
    """
    entries = section.entries("resources: expected stages with what they need")
    if entries and executor != "ray":
        raise section.error(f"resources: only 'executor: ray' uses them; this run's executor is '{executor}'.")
    known = [stage.name for stage in stages() if stage.loop is not None]
    for name, node in entries.items():
        if name not in known:
            raise node.error(f"resources.{name}: there is no such stage. Stages: {', '.join(known)}.")
        node.entries(f"resources.{name}: expected e.g. num_gpus: 1")
    return {name: parse_section(StageResources, node, f"resources.{name}") for name, node in entries.items()}
