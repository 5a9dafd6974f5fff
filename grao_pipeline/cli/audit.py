"""`grao audit`."""

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.reward_checks.options import AuditOptions


@click.command()
@click.argument("groups")
@click.argument("scores")
@options_of(AuditOptions)
def audit(groups: str, scores: str, as_json: bool, **values: object) -> None:
    """Show what a reward pays for within groups: length, format, hedging, repetition.

    SCORES are those of GROUPS. With --history round by round; with --second, what another reward says of the samples
    with the highest advantage. A flag is a note with the numbers it comes from.

    \b
    Example:
      grao audit r1/groups r1/scores --history r0/groups r0/scores --second r1/judge
    """
    with errors_for_people() as reported:
        from grao_pipeline.reward_checks.audit import audit_scores

        options, reported.source = given_options(AuditOptions, values)
        summary = audit_scores(groups, scores, options, current_progress())
    print_summary(summary, as_json, f"Audit of {scores}, of {groups}")
