"""Make the demo's base model on the spot, so that the demo downloads nothing.

Run it with `python -m examples.demo.base_model OUT`; the pre-training itself is in pretraining.py.
"""

import shutil
from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", default=0, show_default=True, help="Seed of the weights and the demonstrations.")
def main(out: Path, seed: int) -> None:
    """Pre-train the base model and write it with its tokenizer to OUT; if OUT holds a model, do nothing.

    OUT appears whole or not at all: a run that is killed leaves only a hidden folder next to it.

    Example: python -m examples.demo.base_model runs/demo/base
    """
    if (out / "config.json").exists():
        click.echo(f"{out} already holds a model, nothing to do", err=True)
        return
    if out.exists() and any(out.iterdir()):
        raise click.ClickException(f"{out} holds something that is not a model. Name another folder.")

    from examples.demo.pretraining import pretrain  # torch and transformers: seconds, and needed only now

    model, tokenizer = pretrain(seed)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.replace(out)
    click.echo(f"wrote {out}", err=True)


if __name__ == "__main__":
    main()
