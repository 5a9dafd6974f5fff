"""`grao import`."""

from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options
from grao_pipeline.importing.options import ImportOptions


@click.command("import")
@click.argument("source")
@click.argument("out")
@stage_options(ImportOptions)
def import_groups(source: str, out: str, as_json: bool, **values: Any) -> None:
    """Make a groups table from responses that were sampled elsewhere.

    SOURCE is a hub id, or a local JSONL(.gz), JSON or Parquet file, or a directory of them, with the columns prompt
    (a text, or messages) and responses (a list of texts); rewards (a list of numbers or nulls), reference,
    reference_reward and rejected are read where they are there, all others become metadata. Writes OUT/groups and,
    where there are rewards, OUT/scores. Without --tokenizer the groups can be scored, but not trained on.

    \b
    Example:
      grao import samples.jsonl runs/imported --map question=prompt --map answers=responses
    """

    def call(options: ImportOptions) -> Any:
        from grao_pipeline.importing.import_groups import import_groups as write_groups

        return write_groups(source, out, options, ConsoleProgress())

    print_summary(run_stage(ImportOptions, values, call), as_json, f"Import: {source} → {out}")


if __name__ == "__main__":
    import_groups()
