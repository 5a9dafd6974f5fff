"""`grao push`."""

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.parameters import paths
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.cli.terminal import echo
from grao_pipeline.hub.options import PushOptions


@click.command()
@click.argument("path", shell_complete=paths)
@click.argument("repo")
@options_of(PushOptions)
def push(path: str, repo: str, as_json: bool, **values: object) -> None:
    """Push a trained model or tables to the Hugging Face hub, with a card made from the provenance.

    PATH is a trained model, a table, or a folder of tables; REPO a repository such as me/aligned, created where it does
    not exist. What is damaged is not pushed.

    \b
    Examples:
      grao push runs/demo/round-2/train me/aligned --look-in runs --dry-run
      grao push data/gsm8k me/gsm8k-prompts --private
    """
    with errors_for_people():
        from grao_pipeline.hub.push import push_path

        options, _ = given_options(PushOptions, values)
        summary = push_path(path, repo, options, current_progress())
    if options.dry_run and not as_json:
        echo(summary.card)
        echo("\n".join(summary.names))
    print_summary(summary, as_json, f"{'Dry run: ' if options.dry_run else ''}{path} → {repo}")
