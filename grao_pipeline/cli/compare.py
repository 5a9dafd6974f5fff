"""`grao compare`."""

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.reward_checks.options import CompareOptions


@click.command()
@click.argument("groups")
@click.argument("scores_a")
@click.argument("scores_b")
@options_of(CompareOptions)
def compare(groups: str, scores_a: str, scores_b: str, as_json: bool, **values: object) -> None:
    """Say what another reward would change in a training, before any step is made.

    SCORES_A and SCORES_B are scores of GROUPS by two rewards. Prints signs of advantages that flip, the share of the
    training weight that moves, rank correlation within groups, agreement, and the groups that differ most.

    \b
    Example:
      grao compare runs/groups runs/scores/gsm8k runs/scores/judge --top 5
    """
    with errors_for_people() as reported:
        from grao_pipeline.reward_checks.compare import compare_scores

        options, reported.source = given_options(CompareOptions, values)
        comparison = compare_scores(groups, scores_a, scores_b, options, current_progress())
    print_summary(comparison, as_json, f"A = {scores_a}, B = {scores_b}, of {groups}")
