"""`python -m grao_pipeline`, and the command `grao`."""

from grao_pipeline.garbage import collect_rarely, end_with_command


def run(name: str | None = None) -> None:
    """Run the command that the command line names, or the one of this name, of which it has the arguments."""
    collect_rarely()
    end_with_command()
    from grao_pipeline.cli.main import SETTINGS, command_named, main

    if name is None:
        main(prog_name="grao")
    else:
        command_named(name)(**SETTINGS)


if __name__ == "__main__":
    run()
