"""`python -m grao_pipeline`: the command `grao`."""

from grao_pipeline.cli.main import main

main(prog_name="grao")
