"""`grao plugins list` and `show`."""

from dataclasses import asdict

import click

from grao_pipeline.arguments import described_arguments
from grao_pipeline.cli.command import CommandGroup, errors_for_people, folded, json_option
from grao_pipeline.cli.plugin_help import write_description
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.cli.terminal import echo
from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.options import closest
from grao_pipeline.plugin_kinds import KINDS, PluginDescription, describe_plugin

FILTER = "filter"
KIND_NAMES = [kind.name for kind in KINDS]
kind_option = click.option("--kind", type=click.Choice(KIND_NAMES), help="Only plug-ins of this kind.")


@click.group(cls=CommandGroup)
def plugins() -> None:
    """List rewards, estimators, engines and other plug-ins, and show their arguments.

    \b
    Examples:
      grao plugins list --kind reward
      grao plugins show length
    """


@plugins.command("list")
@kind_option
@json_option
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List plug-ins by kind, each with what it is.

    \b
    Example:
      grao plugins list --kind estimator
    """
    with errors_for_people():
        rows = {
            of_kind.name: {name: _summary(of_kind.name, name) for name in of_kind.names()}
            for of_kind in KINDS
            if kind in (None, of_kind.name)
        }
        if FILTER in rows:
            of_options = {name: description.summary for name, description in filter_descriptions().items()}
            rows[FILTER] = of_options | rows[FILTER]
    if as_json:
        print_summary(rows, True, "")
        return
    formatter = click.HelpFormatter(max_width=110)
    for name, summaries in rows.items():
        with formatter.section(name):
            formatter.write_dl(list(summaries.items()))
    echo(formatter.getvalue().rstrip())


@plugins.command()
@click.argument("name")
@kind_option
@json_option
def show(name: str, kind: str | None, as_json: bool) -> None:
    """Show what a plug-in is, its arguments with their defaults, and a command that uses it.

    NAME is a name that `grao plugins list` shows, or package.module:attribute with --kind.

    \b
    Examples:
      grao plugins show judge-pairwise
      grao plugins show my_rewards:polite --kind reward
    """
    with errors_for_people():
        descriptions = [_description(of_kind, name) for of_kind in _kinds_of(name, kind)]
    if as_json:
        print_summary({"plugins": [asdict(description) for description in descriptions]}, True, "")
        return
    formatter = click.HelpFormatter(max_width=110)
    for description in descriptions:
        write_description(description, formatter)
        with formatter.section("Example"):
            formatter.write("".join(f"{line}\n" for line in folded(description.example)))
    echo(formatter.getvalue().rstrip())


@plugins.command("catalog")
def print_catalog() -> None:
    """Print the catalog of published methods as Markdown, with formulas, sources and commands.

    \b
    Example:
      grao plugins catalog > methods.md
    """
    from grao_pipeline.cli.catalog import catalog

    with errors_for_people():
        text = catalog()
    echo(text.rstrip())


def _kinds_of(name: str, kind: str | None) -> list[str]:
    """The kinds that have a plug-in of this name.

    Raises:
        UsageError: no kind has one.
    """
    if kind is not None:
        return [kind]
    names = {of_kind.name: of_kind.names() for of_kind in KINDS}
    names[FILTER] += list(filter_descriptions())
    kinds = [of_kind for of_kind, known in names.items() if name in known]
    if not kinds:
        known = [other for of_kind in names.values() for other in of_kind]
        raise UsageError(
            f"Unknown plug-in '{name}'.{closest(name, known)} `grao plugins list` shows all; "
            "a module:attribute needs --kind."
        )
    return kinds


def filter_descriptions() -> dict[str, PluginDescription]:
    """The filters that options of `grao advantages` switch on, in the order in which they are applied."""
    from grao_pipeline.advantages.filters.by_options import FILTERS
    from grao_pipeline.advantages.options import AdvantagesOptions

    arguments = {argument["name"]: argument for argument in described_arguments(AdvantagesOptions)}
    return {
        one.name: PluginDescription(
            FILTER,
            one.name,
            f"{one.help} ({one.phase} the statistics)",
            [arguments[option] for option in one.options],
            "",
            f"grao advantages GROUPS OUT --scores SCORES {one.example}",
        )
        for one in FILTERS
    }


def _description(kind: str, name: str) -> PluginDescription:
    of_options = filter_descriptions() if kind == FILTER else {}
    return of_options[name] if name in of_options else describe_plugin(kind, name)


def _summary(kind: str, name: str) -> str:
    try:
        return describe_plugin(kind, name).summary
    except MissingDependency as error:
        return f"(not installed: {error})"
