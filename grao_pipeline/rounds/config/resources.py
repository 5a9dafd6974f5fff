"""The section `resources`: how many processes a stage gets, and what it reserves of a Ray cluster."""

from collections.abc import Iterator, Mapping, Sequence

from grao_pipeline.options import Processes, StageOptions
from grao_pipeline.pipeline import stage_named, stages
from grao_pipeline.rounds.config.run_plan import VariantPlan
from grao_pipeline.rounds.config.sections import parse_section
from grao_pipeline.rounds.config.yaml_lines import Node
from grao_pipeline.rounds.executors.base import StageResources


def read_resources(section: Node, root: Node, executor: str) -> dict[str, StageResources]:
    """Stage → what it gets.

    Args:
        root: the whole file, whose sections of stages may say `processes`, too.

    Raises:
        UsageError: a stage or a resource is unknown, or the executor reserves nothing.
    """
    entries = section.entries("resources: expected stages with what they need")
    known = [stage.name for stage in stages() if stage.loop is not None]
    for name, node in entries.items():
        if name not in known:
            raise node.error(f"resources.{name}: there is no such stage. Stages: {', '.join(known)}.")
        keys = node.entries(f"resources.{name}: expected e.g. processes: 2")
        for key, entry in keys.items():
            if key != "processes" and key in StageResources.model_fields and executor != "ray":
                raise entry.error(
                    f"resources.{name}.{key}: only 'executor: ray' reserves; this run's executor is '{executor}'."
                )
        if "processes" in keys and "processes" not in stage_named(name).options_model.model_fields:
            raise keys["processes"].error(f"resources.{name}.processes: this stage is one process.")
        if "nodes" in keys and "nodes" not in stage_named(name).options_model.model_fields:
            raise keys["nodes"].error(f"resources.{name}.nodes: this stage runs on one machine.")
        of_stage = root.value.get(name) if "processes" in keys else None
        if of_stage is not None and isinstance(of_stage.value, dict) and "processes" in of_stage.value:
            raise keys["processes"].error(f"resources.{name}.processes: {name}.processes says it, too. Keep one.")
    return {name: parse_section(StageResources, node, f"resources.{name}") for name, node in entries.items()}


def refuse_unused(resources: Mapping[str, StageResources], section: Node, variants: Sequence[VariantPlan]) -> None:
    """Check that the GPUs that are reserved are those that are used.

    Raises:
        UsageError: a stage would reserve GPUs that it does not use.
    """
    for name, given in resources.items():
        if not given.num_gpus:
            continue
        node = section.find([name, "num_gpus"])
        stage = stage_named(name)
        uses = [(stage.devices_of(options), processes) for options, processes in _options(name, given, variants)]
        if not any(size for size, _ in uses):
            raise node.error(f"resources.{name}.num_gpus: this stage, with these options, uses no GPU.")
        for size, processes in uses:
            used = given.num_gpus // max(size, 1) * size if processes == "auto" else int(processes) * size
            if size and given.num_gpus > 1 and used != given.num_gpus:
                raise node.error(
                    f"resources.{name}.num_gpus: {given.num_gpus:g} GPUs would be reserved and {used:g} used: "
                    f"processes is {processes}, each with {size}."
                )


def _options(
    name: str, given: StageResources, variants: Sequence[VariantPlan]
) -> Iterator[tuple[StageOptions, Processes]]:
    """The options of a stage in all rounds, and its processes."""
    for variant in variants:
        for plan in variant.rounds:
            for settings in plan.stages.get(name, ()):
                processes: Processes = getattr(settings.options, "processes", "auto")
                yield settings.options, processes if given.processes is None else given.processes
