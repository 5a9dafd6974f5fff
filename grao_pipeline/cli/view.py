"""`grao view`."""

import json

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.view.options import ViewOptions


@click.command()
@click.argument("path")
@options_of(ViewOptions)
def view(path: str, as_json: bool, **values: object) -> None:
    """Browse groups with their rewards and advantages in a browser, page by page, while a run goes on.

    PATH is a run (its YAML or output directory), a table of groups, scores or advantages, or a directory of tables. The
    page is served to this machine alone, to whoever has the address that is printed. Ctrl-C stops it.

    \b
    Examples:
      grao view runs/demo
      grao view runs/groups --scores runs/scores
    """

    with errors_for_people():
        from grao_pipeline.plugins import require

        require("uvicorn")
        require("starlette")
        from grao_pipeline.view.serve import View

        options, _ = given_options(ViewOptions, values)
        shown = View(path, options, current_progress())
    click.echo(json.dumps({"address": shown.address}) if as_json else f"Open {shown.address}\nCtrl-C stops it.")
    shown.run()
