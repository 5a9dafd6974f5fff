"""A model that an example makes once."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def save_once(out: Path, make: Callable[[], tuple[Any, Any]]) -> None:
    """Make a model and its tokenizer and write them to `out`, unless it holds a model.

    `out` appears whole or not at all: a run that is killed leaves only a hidden folder next to it.

    Raises:
        click.ClickException: `out` holds something else.
    """
    if (out / "config.json").exists():
        click.echo(f"{out} already holds a model, nothing to do", err=True)
        return
    if out.exists() and any(out.iterdir()):
        raise click.ClickException(f"{out} holds something that is not a model. Name another folder.")
    model, tokenizer = make()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.replace(out)
    click.echo(f"wrote {out}", err=True)
