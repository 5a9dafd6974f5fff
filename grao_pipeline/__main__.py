"""`python -m grao_pipeline`, and the command `grao`."""

from grao_pipeline.garbage import collect_rarely


def run() -> None:
    """Run the command that the command line names."""
    collect_rarely()
    from grao_pipeline.cli.main import main

    main(prog_name="grao")


if __name__ == "__main__":
    run()
