"""Directories of tables, models and evaluations with a file that is broken, gone or another one, for what looks through
them: verify, report, view, du, inspect, push."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos.fuzz_run import Run, nothing_wrong
from benchmarks.chaos.mutations import break_file
from benchmarks.chaos.place import Place
from benchmarks.chaos.viewer import look_at_all
from grao_pipeline.evaluation.record import METRICS as EVALUATION
from grao_pipeline.models.manifest import MODEL_MANIFEST
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import MANIFEST, read_manifest

COMMANDS = {"verify": 30, "report": 20, "view": 20, "du": 10, "inspect": 20, "push": 10}
MANIFESTS = (MANIFEST, MODEL_MANIFEST, EVALUATION)


def run(place: Place, directory: Path, generator: random.Random) -> Run:
    """A command on a copy of all outputs, of which one file is not what was written."""
    command = generator.choices(list(COMMANDS), list(COMMANDS.values()))[0]
    root = Path(shutil.copytree(place.base, directory / "run"))
    output = root / generator.choice(place.outputs).name
    path = generator.choice(sorted(path for path in output.rglob("*") if path.is_file()))
    before = _content(path)
    _damage(path, generator)
    one = output if generator.random() < 0.5 else root
    arguments: dict[str, tuple[object, ...]] = {
        "verify": (one,),
        "report": (one, directory / "report.html"),
        "view": (one,),
        "du": (root,),
        "inspect": (output,),
        "push": (output, "somebody/model", "--dry-run"),
    }

    def unnamed() -> str | None:
        """What must have been named. Without its own record, a directory is no output."""
        is_same = _content(path) == before if path.is_file() else path.name in MANIFESTS
        return None if is_same else f"{path.relative_to(root)} is not what was written"

    check: Callable[[], str | None] = unnamed if command in ("verify", "push") else nothing_wrong
    instead = (lambda: look_at_all(str(one))) if command == "view" else None
    return Run(f"outputs → {command}", (command, *arguments[command]), check, instead)


def _content(path: Path) -> object:
    """What a file says: all of its bytes, but of a table's manifest, of which only the text is read."""
    return read_manifest(Directory(path.parent)) if path.name == MANIFEST else path.read_bytes()


def _damage(path: Path, generator: random.Random) -> None:
    """Break a file, or put something else in its place."""
    choice = generator.random()
    if choice < 0.6:
        break_file(path, generator)
        return
    others = [file for file in path.parents[1].rglob(f"*{path.suffix}") if file.is_file()]
    data = generator.choice(sorted(others)).read_bytes()
    path.unlink()
    if choice < 0.75:
        path.write_bytes(data)
    elif choice < 0.8:
        path.mkdir()
    elif choice < 0.85:
        path.symlink_to(path.name)
    elif choice < 0.9:
        path.write_bytes(b"")
