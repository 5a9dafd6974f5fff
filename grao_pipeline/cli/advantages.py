"""`grao advantages`."""

from typing import Any

import click

from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options


@click.command()
@click.argument("groups")
@click.argument("out")
@stage_options(AdvantagesOptions)
def advantages(groups: str, out: str, as_json: bool, **values: Any) -> None:
    """Compute group-relative advantages from scores.

    GROUPS is a groups table, OUT the advantages table. Several scores become one reward as --combine says, by default
    as a weighted sum. With --dry-run, nothing is written.

    \b
    Example:
      grao advantages runs/groups runs/advantages --scores runs/scores/gsm8k --scores runs/scores/length=0.2
    """

    def call(options: AdvantagesOptions) -> Any:
        from grao_pipeline.advantages.compute import compute_advantages
        from grao_pipeline.advantages.dry_run import preview_advantages

        if options.dry_run:
            return preview_advantages(groups, options)
        return compute_advantages(groups, out, options, ConsoleProgress())

    what = "Dry run" if values["dry_run"] else "Advantages"
    print_summary(run_stage(AdvantagesOptions, values, call), as_json, f"{what}: {groups} → {out}")


if __name__ == "__main__":
    advantages()
