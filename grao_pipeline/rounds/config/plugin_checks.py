"""What only the plug-ins of a rounds file can refuse, asked before the first task: their arguments, their packages."""

from collections.abc import Iterator

from grao_pipeline.pipeline import stage_named
from grao_pipeline.rounds.config.run_plan import RunPlan, Settings
from grao_pipeline.stage import Stage


def check_plugins(plan: RunPlan) -> None:
    """Refuse what a task would refuse after others were paid for. This may import what is heavy, e.g. torch for the
    arguments of an objective.

    Raises:
        UsageError: an argument or option is unknown, wrong or without effect; the message has its line.
        MissingDependency: the package of a tracker is not installed.
    """
    checked = set()
    for stage, settings in _all_settings(plan):
        key = stage.name, settings.options.model_dump_json()
        if stage.check_plugins is not None and key not in checked:
            checked.add(key)
            settings.check(stage.check_plugins)


def _all_settings(plan: RunPlan) -> Iterator[tuple[Stage, Settings]]:
    """Of every stage in every round, and of the sampling for evaluation."""
    for variant in plan.variants:
        for round_plan in variant.rounds:
            for name, entries in round_plan.stages.items():
                for settings in entries:
                    yield stage_named(name), settings
        yield stage_named("generate"), variant.sampling
