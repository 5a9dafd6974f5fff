"""`python -m grao_pipeline`, and the command `grao`."""

import gc


def run() -> None:
    """Run the command that the command line names."""
    gc.set_threshold(100_000)  # importing makes many objects that stay, and each collection would look at all of them
    from grao_pipeline.cli.main import main

    main(prog_name="grao")


if __name__ == "__main__":
    run()
