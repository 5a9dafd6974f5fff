"""Where the outputs of a run are."""

from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.rounds.config.keys import read_rounds_file
from grao_pipeline.storage.places import place_of


def run_directory(run: str) -> Path:
    """The directory that holds the outputs of a run.

    Raises:
        InputError: it does not exist, or lies on another machine.
        UsageError: the YAML is wrong.
    """
    if "://" in run:
        raise InputError(f"{run} is a URL; this needs a run in a local directory. Copy it first.")
    path = Path(run)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        output = str(place_of(read_rounds_file(run).keys.output))
        if "://" in output:
            raise InputError(f"{run} writes to {output}; this needs a run in a local directory. Copy it first.")
        path = Path(output)
        if not path.is_dir():
            raise InputError(f"{run} has not been run: {path} does not exist. Start it: grao rounds run {run}")
    if not path.is_dir():
        problem = "is not a directory" if path.exists() else "does not exist"
        raise InputError(f"{run} {problem}. Give a directory with outputs, or the YAML of rounds.")
    return path
