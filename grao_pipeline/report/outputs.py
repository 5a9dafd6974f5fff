"""The outputs of stages below a directory, named by where they lie and told apart by their provenance."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.evaluation.record import METRICS as EVALUATION
from grao_pipeline.evaluation.record import read_evaluation_provenance
from grao_pipeline.models.manifest import METRICS as TRAINING_LOG
from grao_pipeline.models.manifest import ModelManifest, read_trained_manifest
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import has_manifest, part_files
from grao_pipeline.storage.row_access import open_rows

DEEPEST = 5
"""Folders below the root: OUTPUT/store/prompts/FINGERPRINT/train."""
STORE = "store"
NAME = re.compile(r"(?:(?P<variant>.+)/)?(?P<model>base|round-(?P<round>\d+))/(?P<task>[^/]+)")
"""Names in the output of `grao rounds run`."""


@dataclass(frozen=True)
class Output:
    """A table, a model or an evaluation.

    Attributes:
        name: its path below the root, e.g. `beta=0.25/round-0/train`; that of the root itself is its last part.
        kind: `prompts`, `groups`, `scores`, `advantages`, `model` or `evaluation`.
        provenance: None for a model that is still being trained.
        model: the manifest of a finished training.
        is_shared: whether several variants of a sweep have it.
    """

    name: str
    place: str
    kind: str
    provenance: Provenance | None
    is_complete: bool = True
    model: ModelManifest | None = None
    is_shared: bool = False

    @property
    def fingerprint(self) -> str:
        return self.provenance.fingerprint if self.provenance else ""

    def input(self, name: str) -> str:
        """The fingerprint of an input; empty where it is not known."""
        value = self.provenance.inputs.get(name) if self.provenance else None
        return value if isinstance(value, str) else ""

    @property
    def variant(self) -> str:
        """Of a sweep; empty outside of one, and for what several variants share."""
        return "" if self.is_shared else variant_of(self.name)

    @property
    def round(self) -> int | None:
        """−1 for the base model; None outside of rounds."""
        match = NAME.fullmatch(self.name)
        if match is None:
            return None
        return int(match["round"]) if match["round"] else -1

    @property
    def task(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def label(self) -> str:
        """For people: its name, shortened where it is a fingerprint in the store."""
        parts = self.name.split("/")
        return " · ".join([*parts[1:-1], parts[-1][:8]]) if parts[0] == STORE else self.name


def outputs_below(
    root: Path, followed: Collection[str] | None = None, known: Mapping[str, Output] = MappingProxyType({})
) -> tuple[list[Output], list[str]]:
    """Every output below a directory once, under its first name; and what is wrong with those that cannot be read.

    What lies in the store of `grao rounds run` without a link is left out: it belongs to other configurations.

    Args:
        followed: of the store, what is being written counts as well, and these places; None: nothing does.
        known: complete outputs by their places, which are not read again.
    """
    names: dict[str, list[str]] = {}
    for path in _folders(root, DEEPEST):
        name = str(path.relative_to(root)) if path != root else root.resolve().name
        names.setdefault(os.path.realpath(path), []).append(name)
    outputs: list[Output] = []
    problems: list[str] = []
    for place, (name, *others) in names.items():
        is_stored = name.startswith(f"{STORE}/")
        if is_stored and followed is None:
            continue
        try:
            output = known.get(place) or read_output(Path(place), name)
        except (DamagedPart, InputError, MismatchError) as error:
            problems.append(str(error))
            continue
        if output is not None and not (is_stored and output.is_complete and place not in (followed or ())):
            is_shared = len({variant_of(other) for other in (name, *others) if NAME.fullmatch(other)}) > 1
            outputs.append(replace(output, name=name, is_shared=is_shared))
    return outputs, problems


def variant_of(name: str) -> str:
    """Of a sweep; empty outside of one."""
    match = NAME.fullmatch(name)
    return (match["variant"] or "") if match else ""


def read_output(path: Path, name: str) -> Output | None:
    """What a directory holds; None where that is not an output of a stage.

    Raises:
        DamagedPart: its manifest is damaged.
        MismatchError: another program wrote it.
    """
    place = str(path)
    directory = Directory(place)
    if directory.exists(TRAINING_LOG):
        manifest = read_trained_manifest(path)
        return Output(name, place, "model", manifest.provenance if manifest else None, manifest is not None, manifest)
    if directory.exists(EVALUATION):
        return Output(name, place, "evaluation", read_evaluation_provenance(directory))
    if has_manifest(place):
        table = open_rows(place)
        return Output(name, place, table.schema.name, table.provenance, table.is_complete)
    if part_files(directory):
        with suppress(InputError):  # Parquet files of other software
            table = open_rows(place)
            return Output(name, place, table.schema.name, table.provenance, table.is_complete)
    return None


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """The root and the folders below it, the store's last; those inside an output are not looked at."""
    yield root
    if depth == 0 or any((root / name).exists() for name in (TRAINING_LOG, EVALUATION, "config.json")):
        return
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
        for name in sorted(names, key=_natural):
            yield from _folders(root / name, depth - 1)


def _natural(name: str) -> tuple[bool, list[tuple[float, str]]]:
    """`round-2` before `round-10`, `beta=0.25` before `beta=0.5`; `store` after all others."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return name == STORE, [(float(part), "") if index % 2 else (0.0, part) for index, part in enumerate(parts)]
