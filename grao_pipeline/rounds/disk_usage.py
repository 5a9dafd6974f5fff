"""What takes space in a run: by stage, by kind of file, and the largest outputs."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.training.carried import OPTIMIZER
from grao_pipeline.training.checkpoints.places import CHECKPOINTS

STORE = "store"
KINDS = {".safetensors": "weights", ".parquet": "tables", ".jsonl": "logs", ".json": "records"}
"""By the ending of a file's name; the rest are other files."""
MOST_SHOWN = 20


@dataclass(frozen=True)
class OutputSize:
    """One output in the store.

    Attributes:
        names: of the tasks of this run that it belongs to, e.g. `round-0/train`; empty for another run's.
    """

    names: list[str]
    place: str
    bytes: int
    kinds: dict[str, int]


@dataclass
class DiskUsage:
    """What a run takes. Every file is counted once, however many links there are.

    Attributes:
        kinds: bytes by kind of file: weights, optimizer states, checkpoints, tables, logs, records, others.
        stages: bytes by stage.
        outputs: the largest first.
        unnamed_bytes: of outputs in the store that no link of this run names: of other runs, or of other options.
    """

    path: str
    bytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    outputs: list[OutputSize] = field(default_factory=list)
    unnamed_bytes: int = 0

    def for_people(self) -> dict[str, object]:
        """Sizes in units that people read."""
        rows = [
            {"output": ", ".join(one.names[:2]) or one.place, "size": size_text(one.bytes)}
            for one in self.outputs[:MOST_SHOWN]
        ]
        return {
            "size": size_text(self.bytes),
            "kinds": {kind: size_text(size) for kind, size in self.kinds.items()},
            "stages": {stage: size_text(size) for stage, size in self.stages.items()},
            "not_of_this_run": size_text(self.unnamed_bytes) if self.unnamed_bytes else None,
            "largest": rows,
        }


def disk_usage(path: str) -> DiskUsage:
    """What a run's directory and the outputs that it links to take; or what a store takes.

    Raises:
        InputError: there is no such directory.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{path} is not a directory. Name the output of a run, or its store.")
    names = _links(root)
    places = {*names, *(place.resolve() for place in _stored(root))}
    kinds: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    usage = DiskUsage(path)
    for place in sorted(places):
        of_kinds: Counter[str] = Counter()
        for file in _files(place):
            of_kinds[_kind(file.relative_to(place))] += file.lstat().st_size
        output = OutputSize(sorted(names.get(place, [])), str(place), of_kinds.total(), dict(of_kinds))
        usage.outputs.append(output)
        usage.unnamed_bytes += 0 if output.names else output.bytes
        kinds.update(of_kinds)
        stages[place.parent.name] += output.bytes
    usage.outputs.sort(key=lambda one: (-one.bytes, one.place))
    counted = {str(place) for place in places}
    for file in _files(root):
        if counted.isdisjoint(map(str, _real(file).parents)):
            kinds[_kind(file.relative_to(root))] += file.lstat().st_size
    usage.bytes = kinds.total()
    usage.kinds = {kind: size for kind, size in kinds.most_common() if size}
    usage.stages = {stage: size for stage, size in stages.most_common() if size}
    return usage


def size_text(size: float) -> str:
    """Bytes for people, e.g. `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _links(root: Path) -> dict[Path, list[str]]:
    """Output → the names that this run has for it."""
    names: dict[Path, list[str]] = {}
    for directory, folders, _ in os.walk(root):
        for folder in folders:
            link = Path(directory, folder)
            if link.is_symlink() and link.is_dir():
                names.setdefault(link.resolve(), []).append(str(link.relative_to(root)))
    return names


def _stored(root: Path) -> Iterator[Path]:
    """The outputs in the store of a run, or in a store: folders named by a fingerprint below those of the stages."""
    store = root / STORE if (root / STORE).is_dir() else root
    for place in store.glob("*/*"):
        if place.is_dir() and not place.is_symlink() and len(place.name) == 32 and place.name.isalnum():
            yield place


def _files(root: Path) -> Iterator[Path]:
    for directory, _, files in os.walk(root):
        yield from (Path(directory, file) for file in files)


def _real(file: Path) -> Path:
    """Where a file lies; unlike `Path.resolve` for links in a circle, too."""
    return Path(os.path.realpath(file))


def _kind(file: Path) -> str:
    if OPTIMIZER in file.parts[:-1]:
        return "optimizer states"
    if CHECKPOINTS in file.parts[:-1]:
        return "checkpoints"
    return KINDS.get(file.suffix, "others")
