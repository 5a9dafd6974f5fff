"""Make the demo's base model on the spot, so that the demo downloads nothing.

Run it with `python -m examples.demo.base_model OUT`; the pre-training itself is in pretraining.py.
"""

from pathlib import Path
from typing import Any

import click

from examples.saving import save_once


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", default=0, show_default=True, help="Seed of the weights and the demonstrations.")
def main(out: Path, seed: int) -> None:
    """Pre-train the base model and write it with its tokenizer to OUT; if OUT holds a model, do nothing.

    Example: python -m examples.demo.base_model runs/demo/base
    """

    def make() -> tuple[Any, Any]:
        from examples.demo.pretraining import pretrain  # torch and transformers: seconds, and needed only now

        return pretrain(seed)

    save_once(out, make)


if __name__ == "__main__":
    main()
