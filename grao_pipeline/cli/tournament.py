"""`grao tournament`."""

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.rounds.tournament_options import TournamentOptions


@click.command()
@click.argument("config")
@options_of(TournamentOptions)
def tournament(config: str, as_json: bool, **values: object) -> None:
    """Compare many methods on the same sampled and scored groups, prompt by prompt.

    CONFIG is a rounds file with the methods in `variants`, or with a sweep. What methods share is done once. Finished
    work is found; run the same command to resume. The table is in OUTPUT/tournament.json, too.

    \b
    Example:
      grao tournament tournament.yaml --baseline grao
    """
    with errors_for_people() as reported:
        from grao_pipeline.rounds.failures import raise_failures
        from grao_pipeline.rounds.tournament import run_tournament

        options, reported.source = given_options(TournamentOptions, values)
        summary = run_tournament(config, options, current_progress())
    print_summary(summary, as_json, f"Tournament of {config}: methods against {summary.baseline}")
    with errors_for_people():
        raise_failures(summary.failures)
