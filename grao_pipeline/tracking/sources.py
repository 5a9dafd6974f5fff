"""What a folder holds to be logged: metrics of trainings, line by line, and evaluations of rounds."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.models.manifest import METRICS, MODEL_MANIFEST

EVALUATION = "metrics.json"
ROUND = re.compile(r"round-(\d+)")
DEEPEST = 4
"""Folders below that of the rounds: a variant, a round, a task."""
STORE = "store"


@dataclass(frozen=True)
class Entry:
    """The numbers of one step of a run."""

    run: str
    step: int
    values: Mapping[str, float]
    rows: Sequence[Mapping[str, object]] = ()
    """Samples, in place of values."""


class TrainingLog:
    """The lines of a `metrics.jsonl` that were not read yet; a line counts when it is whole.

    Args:
        run: its name for the tracker.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run
        self._offset = 0

    def new(self) -> Iterator[Entry]:
        """The steps since the last call. A file that became shorter (a training resumed) is read from its beginning."""
        if not self._path.is_file():
            return
        if self._path.stat().st_size < self._offset:
            self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                record = _object(line)
                if isinstance(record.get("step"), int):
                    yield Entry(self._run, record["step"], numbers(record))

    @property
    def is_finished(self) -> bool:
        """Whether the training has written its model."""
        return (self._path.parent / MODEL_MANIFEST).is_file()


def numbers(record: Mapping[str, object]) -> dict[str, float]:
    """The numbers of a record by name, but for the step; what nothing defines in this step is left out."""
    return {
        name: float(value)
        for name, value in record.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


def training_logs(folder: Path) -> dict[str, TrainingLog]:
    """The logs of trainings in a folder, by the name of the run: its path in the folder of the rounds."""
    if (folder / METRICS).is_file() or not places_of(folder, METRICS):
        return {folder.resolve().name: TrainingLog(folder / METRICS, folder.resolve().name)}
    return {name: TrainingLog(path, name) for name, path in places_of(folder, METRICS).items()}


def evaluations(folder: Path) -> Iterator[Entry]:
    """The evaluations of rounds: step 0 is the base model, step n + 1 that of round n."""
    for name, path in places_of(folder, EVALUATION).items():
        match = ROUND.search(name)
        metrics = _object(path.read_bytes()).get("summary", {}).get("metrics", {})
        values = {key: float(metric["value"]) for key, metric in metrics.items() if isinstance(metric, Mapping)}
        variant = name.split("/")[0] if name.count("/") > 1 else ""
        if values:
            yield Entry("/".join(filter(None, (variant, "evaluation"))), int(match[1]) + 1 if match else 0, values)


def places_of(folder: Path, name: str) -> dict[str, Path]:
    """Files of this name by the path of their folder; links into the store are followed, the store itself is not."""
    places = {}
    for root, folders, files in os.walk(folder, followlinks=True):
        relative = os.path.relpath(root, folder)
        depth = 0 if relative == "." else relative.count(os.sep) + 1
        folders[:] = (
            sorted(one for one in folders if one != STORE and not one.startswith(".")) if depth < DEEPEST else []
        )
        if name in files and relative != ".":
            places[relative.replace(os.sep, "/")] = Path(root) / name
    return dict(sorted(places.items(), key=lambda item: _by_number(item[0])))


def _by_number(name: str) -> list[tuple[int, str]]:
    """Orders `round-2` before `round-10`: trackers take the steps of a run in order."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
