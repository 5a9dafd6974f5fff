"""The verb `push`: a verified model, or verified tables → one commit in a repository of the hub."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from grao_pipeline.errors import DamagedPart, InputError, UsageError
from grao_pipeline.hub.dataset_card import dataset_card
from grao_pipeline.hub.model_card import model_card
from grao_pipeline.hub.options import PushOptions
from grao_pipeline.hub.upload import upload
from grao_pipeline.lineage.catalog import Catalog, default_roots, read_output
from grao_pipeline.models.manifest import METRICS, MODEL_MANIFEST, read_model_manifest, verify_log, verify_model
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.manifest_file import MANIFEST, has_manifest
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.verification import is_intact

CARD = "README.md"
REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class PushSummary:
    """What was pushed.

    Attributes:
        files: number of files, the card included.
        commit: ID of the commit; empty with --dry-run.
        card: the text of README.md.
    """

    repository: str
    kind: str
    revision: str
    files: int
    bytes: int
    url: str = ""
    commit: str = ""
    card: str = ""
    names: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """Without the card, which `--dry-run` prints."""
        return {name: value for name, value in asdict(self).items() if name not in ("card", "names")}


@dataclass(frozen=True)
class _Content:
    kind: str
    files: dict[str, Path]
    card: str


def push_path(path: str, repository: str, options: PushOptions, progress: Progress = SILENT) -> PushSummary:
    """Push a trained model to a model repository, or tables to a dataset repository, as one commit.

    Example:
        push_path("runs/model", "me/aligned", PushOptions(dry_run=True)).card

    Raises:
        UsageError: `repository` is not the name of a repository.
        InputError: there is nothing to push at `path`, a file of it is damaged, or the hub refuses.
    """
    if not REPOSITORY.fullmatch(repository):
        raise UsageError(f"REPO '{repository}': expected the name of a repository, e.g. me/aligned.")
    place = Path(path)
    if not place.is_dir():
        raise InputError(f"{path} is not a local directory. Push a trained model, a table, or a folder of tables.")
    with progress.track(f"verifying {path}"):
        content = _content(place, repository, options)
    size = sum(file.stat().st_size for file in content.files.values()) + len(content.card.encode())
    names = sorted({*content.files, CARD})
    summary = PushSummary(repository, content.kind, options.revision, len(names), size, card=content.card, names=names)
    if options.dry_run:
        return summary
    with progress.track(f"pushing to {repository}"):
        commit = upload(repository, content.kind, {**content.files, CARD: content.card.encode()}, options)
    return PushSummary(
        repository, content.kind, options.revision, len(names), size, commit.url, commit.id, content.card, names
    )


def _content(place: Path, repository: str, options: PushOptions) -> _Content:
    if has_manifest(place) and (place / MANIFEST).is_file():
        return _of_tables({"": place}, repository, options)
    if (place / MODEL_MANIFEST).is_file():
        return _of_model(place, repository, options)
    inside = {folder.name: folder for folder in sorted(place.iterdir()) if (folder / MANIFEST).is_file()}
    if inside:
        return _of_tables(inside, repository, options)
    raise InputError(
        f"{place} holds no table and no model that `grao train` wrote. Other models: `hf upload {repository} {place}`."
    )


def _of_model(place: Path, repository: str, options: PushOptions) -> _Content:
    manifest = read_model_manifest(place)
    assert manifest is not None
    verify_model(place, manifest)
    has_log = (place / METRICS).is_file()
    if has_log:
        verify_log(place, manifest)
    output = read_output(place.resolve())
    assert output is not None
    catalog = Catalog([*default_roots(place), *map(Path, options.look_in)])
    names = [*manifest.files, MODEL_MANIFEST, *([METRICS] if has_log else [])]
    card = model_card(output, catalog, repository, options.license)
    return _Content("model", {name: place / name for name in names if name != CARD}, card)


def _of_tables(folders: dict[str, Path], repository: str, options: PushOptions) -> _Content:
    files: dict[str, Path] = {}
    readers: dict[str, TableReader] = {}
    for name, folder in folders.items():
        reader = readers[name] = open_table(str(folder))
        if not is_intact(folder):
            raise DamagedPart(f"{folder} is damaged: `grao verify {folder}` names the part.")
        prefix = f"{name}/" if name else ""
        files |= {f"{prefix}{part.name}": folder / part.name for part in reader.manifest.parts}
        files[f"{prefix}{MANIFEST}"] = folder / MANIFEST
    return _Content("dataset", files, dataset_card(readers, repository, options.license))
