"""`grao inspect`."""

import json
from dataclasses import asdict

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.parameters import paths
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.cli.terminal import echo
from grao_pipeline.inspection.options import InspectOptions


@click.command()
@click.argument("path", shell_complete=paths)
@options_of(InspectOptions)
def inspect(path: str, as_json: bool, **values: object) -> None:
    """Describe any table, model or evaluation directory.

    Schema, counts, provenance, the distribution of rewards and lengths, and a few rows. Every byte that is shown was
    verified.

    \b
    Example:
      grao inspect runs/groups --examples 1
    """

    with errors_for_people():
        from grao_pipeline.inspection.inspect import inspect_path

        options, _ = given_options(InspectOptions, values)
        inspection = asdict(inspect_path(path, options))
    if as_json:
        print_summary(inspection, True, "")
        return
    print_summary(inspection["counts"], False, f"{inspection['path']}: {inspection['kind']}")
    kinds = {name: _short(kind) for name, (kind, _) in inspection["columns"].items()}
    width = max(map(len, kinds.values()), default=0)
    _section("columns", {name: f"{kinds[name]:<{width}}  {doc}" for name, (_, doc) in inspection["columns"].items()})
    _section("provenance", {name: json.dumps(value) for name, value in inspection["provenance"].items() if value})
    _section("distributions", {name: _line(values) for name, values in inspection["distributions"].items()})
    for index, row in enumerate(inspection["examples"]):
        _section(f"row {index}", {name: json.dumps(value, ensure_ascii=False) for name, value in row.items()})


def _section(title: str, lines: dict[str, str]) -> None:
    if lines:
        echo(title)
        width = max(26, *map(len, lines))
        for name, text in lines.items():
            echo(f"  {name:<{width}} {text}")


def _short(kind: str) -> str:
    """`list<item: struct<role: string, …>>` as `list<struct>`."""
    before, struct, _ = kind.replace("item: ", "").partition("struct<")
    return f"{before}struct{'>' * before.count('<')}" if struct else before


def _line(values: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
