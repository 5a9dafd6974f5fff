"""`grao verify`."""

import click

from grao_pipeline.cli.command import StageError, errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.parameters import paths
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.cli.terminal import visible
from grao_pipeline.lineage.options import VerifyOptions


@click.command()
@click.argument("path", shell_complete=paths)
@options_of(VerifyOptions)
def verify(path: str, as_json: bool, **values: object) -> None:
    """Hold an output, and all that it was made from, against their fingerprints.

    PATH is a table, a trained model, an evaluation, or a folder of them. Inputs are looked for next to it. Every byte
    of the chain is read; what differs from what was written is named, and the exit code is 1.

    \b
    Examples:
      grao verify runs/demo/round-2/train --look-in runs
      grao verify runs/model --complete
    """
    with errors_for_people():
        from grao_pipeline.lineage.verify import verify_chain

        options, _ = given_options(VerifyOptions, values)
        summary = verify_chain(path, options, current_progress())
    print_summary(summary, as_json, f"Chain of {path}")
    if summary.problems:
        raise StageError(visible("\n".join(summary.problems)))
