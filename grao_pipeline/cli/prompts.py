"""`grao prompts`."""

from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options
from grao_pipeline.prompts.options import PromptsOptions


@click.command()
@click.argument("source")
@click.argument("out")
@stage_options(PromptsOptions)
def prompts(source: str, out: str, as_json: bool, **values: Any) -> None:
    """Make a prompts table from any dataset.

    SOURCE is a hub id, or a local JSONL(.gz), JSON, Parquet or CSV file, or a directory of them. OUT is the table's
    directory; with --eval-fraction, OUT/train and OUT/eval.

    \b
    Example:
      grao prompts gsm8k.jsonl data/gsm8k --eval-fraction 0.05
    """

    def call(options: PromptsOptions) -> Any:
        from grao_pipeline.prompts.build import build_prompts

        return build_prompts(source, out, options, ConsoleProgress())

    print_summary(run_stage(PromptsOptions, values, call), as_json, f"Prompts: {source} → {out}")


if __name__ == "__main__":
    prompts()
