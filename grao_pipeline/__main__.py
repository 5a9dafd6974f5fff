"""`python -m grao_pipeline`, and the command `grao`."""

from grao_pipeline.garbage import collect_rarely, end_with_command


def run() -> None:
    """Run the command that the command line names."""
    collect_rarely()
    end_with_command()
    from grao_pipeline.cli.main import main

    main(prog_name="grao")


if __name__ == "__main__":
    run()
