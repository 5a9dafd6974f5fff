"""Which directory holds the output of which fingerprint, found by looking through folders."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grao_pipeline.errors import GraoError
from grao_pipeline.evaluation.record import METRICS, read_evaluation_provenance
from grao_pipeline.fingerprints import model_fingerprint, tokenizer_fingerprint
from grao_pipeline.models.manifest import MODEL_MANIFEST, read_trained_manifest
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import MANIFEST, has_manifest, read_manifest

DEEPEST = 6
"""Folders below a root that are looked through."""
MOST = 20_000
"""Directories that are looked at, in all."""


@dataclass(frozen=True)
class Output:
    """An output of a stage.

    Attributes:
        provenance: None for a model that no training of ours wrote.
        weights: fingerprint of a model's weights: what the groups that it sampled name.
    """

    place: Path
    kind: str
    provenance: Provenance | None
    weights: str = ""

    @property
    def fingerprint(self) -> str:
        return self.weights if self.provenance is None else self.provenance.fingerprint


@dataclass
class Catalog:
    """The outputs under some folders, by fingerprint.

    Args:
        roots: folders to look through.

    Attributes:
        unreadable: what could not be read, by place: a damaged manifest hides whose output it was.
    """

    roots: Sequence[Path]
    unreadable: dict[Path, str] = field(default_factory=dict)
    _known: dict[str, Output] = field(default_factory=dict)
    _models: list[Path] = field(default_factory=list)
    _copies: dict[str, list[Output]] = field(default_factory=dict)
    _named: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place in _directories(self.roots):
            try:
                output = read_output(place)
            except GraoError as error:
                self.unreadable[place] = str(error)
                continue
            if output is not None:
                for key in filter(None, (output.fingerprint, output.weights)):
                    self._known.setdefault(key, output)
            elif (place / "config.json").is_file():
                self._models.append(place)
                self._named.setdefault(place.name, place)

    def outputs(self) -> list[Output]:
        """Those with a manifest, each once."""
        return list({output.place: output for output in self._known.values() if output.provenance is not None}.values())

    def find(self, fingerprint: str, tokenizer: str | None = None) -> Output | None:
        """The output of this fingerprint, or the model whose weights have it; None where no folder holds it.

        Models that no training of ours wrote are hashed only when something else was not found.

        Args:
            tokenizer: fingerprint of the tokenizer's files: of several copies of such a model, the one that has it.
        """
        if fingerprint in self._known:
            return self._known[fingerprint]
        copies = self._copies.setdefault(fingerprint, [])
        fitting = next((copy for copy in copies if _has_tokenizer(copy, tokenizer)), None)
        while fitting is None and self._models:
            place = self._models.pop()
            try:
                weights = model_fingerprint(place)
            except GraoError as error:
                self.unreadable[place] = str(error)
                continue
            copy = Output(place, "model", None, weights)
            self._copies.setdefault(weights, []).append(copy)
            if weights == fingerprint and _has_tokenizer(copy, tokenizer):
                fitting = copy
        return fitting or next(iter(copies), None)

    def model_named(self, name: str) -> Path | None:
        """The directory of a model that no training of ours wrote, by the last part of its name."""
        return self._named.get(name.rpartition("/")[2])


def _has_tokenizer(model: Output, fingerprint: str | None) -> bool:
    return fingerprint is None or tokenizer_fingerprint(model.place) == fingerprint


def read_output(place: Path) -> Output | None:
    """The output in a directory by its manifest; None where it has none.

    Raises:
        GraoError: its manifest is damaged.
    """
    if has_manifest(place) and (place / MANIFEST).is_file():
        manifest = read_manifest(Directory(place))
        return None if manifest is None else Output(place, manifest.provenance.table, manifest.provenance)
    if (place / METRICS).is_file():
        return Output(place, "evaluation", read_evaluation_provenance(Directory(place)))
    if (place / MODEL_MANIFEST).is_file():
        trained = read_trained_manifest(place)
        return None if trained is None else Output(place, "model", trained.provenance, trained.model)
    return None


def default_roots(place: Path) -> list[Path]:
    """Where the inputs of an output usually are: next to it, and next to the folder that it is in."""
    resolved = place.resolve()
    parents = [parent for parent in (resolved.parent, resolved.parent.parent) if len(parent.parts) > 2]
    return parents[-1:] or [resolved]


def _directories(roots: Sequence[Path]) -> Iterator[Path]:
    """The folders under the roots, each once; not those that are hidden, nor those inside of an output."""
    seen: set[str] = set()
    for root in roots:
        for folder, inner, files in os.walk(root):
            depth = len(Path(folder).relative_to(root).parts)
            is_output = MANIFEST in files or MODEL_MANIFEST in files
            hidden = is_output or depth >= DEEPEST
            inner[:] = [] if hidden else sorted(name for name in inner if not name.startswith("."))
            real = os.path.realpath(folder)
            if real not in seen:
                seen.add(real)
                yield Path(real)
            if len(seen) >= MOST:
                return
