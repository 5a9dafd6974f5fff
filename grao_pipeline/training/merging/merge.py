"""`grao merge`: Σ w_k θ_k of models of one architecture, tensor by tensor, in float32."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import VOLATILE_CONFIG_KEYS, read_config
from grao_pipeline.models.manifest import METRICS, MODEL_MANIFEST
from grao_pipeline.models.source import ModelSource, locate_model
from grao_pipeline.models.stored import is_url, made_in_copy
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.training.checkpoints.disk import write_errors_as_failure
from grao_pipeline.training.checkpoints.model_directory import write_files
from grao_pipeline.training.checkpoints.store import CheckpointStore, finished_summary, remove_checkpoints
from grao_pipeline.training.merging.options import MergeOptions
from grao_pipeline.training.merging.planning import merge_provenance

WEIGHTS = ".safetensors"
NOT_COPIED = (MODEL_MANIFEST, METRICS, "README.md")
VOLATILE = {*VOLATILE_CONFIG_KEYS, "dtype", "torch_dtype"}


@dataclass
class MergeSummary:
    """The merged model.

    Attributes:
        distance: L2 norm of merged − first, over the L2 norm of the first.
        model: fingerprint of its weights.
    """

    models: list[dict[str, object]] = field(default_factory=list)
    tensors: int = 0
    parameters: int = 0
    distance: float = 0.0
    fingerprint: str = ""
    model: str = ""
    was_complete: bool = False
    notes: list[str] = field(default_factory=list)


def merge_models(out: str, options: MergeOptions, progress: Progress = SILENT) -> MergeSummary:
    """Write the weighted sum of models as a model directory; weights keep the precision of the first model.

    Example: `merge_models("runs/averaged", MergeOptions(model=["runs/r0/model=0.5", "runs/r1/model=0.5"]))`

    Raises:
        UsageError: no models are named.
        InputError: a model cannot be read, or is of another architecture than the first.
        MismatchError: `out` holds another model.
        StageFailure: `out` cannot be written, or another process writes into it.
    """
    if not options.models:
        raise UsageError("name the models to merge, e.g. --model runs/r0/model=0.5.", option="model")
    if is_url(out):
        return made_in_copy(out, partial(merge_models, options=options, progress=progress), progress)
    with progress.track("hashing the models"):
        sources = [locate_model(model.model) for model in options.models]
    provenance = merge_provenance(options, sources)
    directory = Path(out)
    finished = finished_summary(directory, provenance)
    if finished is not None:
        return MergeSummary(**finished)
    merging = _Merging(sources, options, progress)
    merging.check()
    merging.summary.fingerprint = provenance.fingerprint
    store = CheckpointStore(directory, provenance)
    try:
        store.claim()
        with write_errors_as_failure(directory, "Free space and run the same command again."):
            written = write_files(directory, merging.save, provenance, lambda: asdict(merging.summary))
        remove_checkpoints(directory)
    finally:
        store.release()
    merging.summary.model = written.model
    return merging.summary


class _Merging:
    """The files of the first model, with the sums in place of its weights."""

    def __init__(self, sources: Sequence[ModelSource], options: MergeOptions, progress: Progress) -> None:
        self._first, *self._others = (_Weights(source.directory) for source in sources)
        self._weights = options.weights()
        self._progress = progress
        names = [str(model.model) for model in options.models]
        self.summary = MergeSummary(
            [{"model": name, "weight": weight} for name, weight in zip(names, self._weights, strict=True)]
        )
        total = sum(self._weights)
        if abs(total - 1) > 1e-6:
            note = f"The weights sum to {total:g}: the result is not a mean of the models, but scaled."
            self.summary.notes.append(note)

    def check(self) -> None:
        """Hold the models against the first.

        Raises:
            InputError: they are not of one architecture.
        """
        for other in self._others:
            changed = sorted(
                key
                for key in (self._first.config.keys() | other.config.keys()) - VOLATILE
                if self._first.config.get(key) != other.config.get(key)
            )
            if changed:
                raise InputError(
                    f"{other.directory} is not of the architecture of {self._first.directory}: the value of "
                    f"'{changed[0]}' in config.json is another one."
                )
            missing = sorted(self._first.files.keys() ^ other.files.keys())
            if missing:
                raise InputError(
                    f"{other.directory} and {self._first.directory} have different weights: only one of them has "
                    f"{missing[0]}."
                )

    def save(self, directory: str) -> None:
        """Write all files to a directory."""
        target = Path(directory)
        target.mkdir(parents=True)
        moved = size = 0.0
        with self._progress.track("merging", len(self._first.files), "tensors") as bar:
            for name, tensors in self._first.shards():
                sums = {}
                for key, value in tensors.items():
                    sums[key] = self._sum(key, value)
                    moved += float((sums[key].double() - value.double()).square().sum())
                    size += float(value.double().square().sum())
                    self.summary.tensors += 1
                    self.summary.parameters += value.numel()
                    bar.advance(1)
                save_file(sums, str(target / name), metadata={"format": "pt"})
        self.summary.distance = (moved / size) ** 0.5 if size else 0.0
        for path in sorted(self._first.directory.iterdir()):
            if path.is_file() and path.suffix != WEIGHTS and path.name not in NOT_COPIED and path.name[0] != ".":
                shutil.copyfile(path, target / path.name)

    def _sum(self, name: str, first: torch.Tensor) -> torch.Tensor:
        """Σ w_k θ_k of one tensor; of whole numbers, which no training changes, the first.

        Raises:
            InputError: a shape differs.
        """
        others = [other.tensor(name) for other in self._others]
        for other, value in zip(self._others, others, strict=True):
            if value.shape != first.shape:
                raise InputError(
                    f"{name} has the shape {list(value.shape)} in {other.directory}, and {list(first.shape)} in "
                    f"{self._first.directory}."
                )
        if not first.is_floating_point():
            return first
        total = torch.zeros(first.shape, dtype=torch.float32)
        for weight, value in zip(self._weights, [first, *others], strict=True):
            total.add_(value.to(torch.float32), alpha=weight)
        return total.to(first.dtype)


class _Weights:
    """The weights of a model directory, read tensor by tensor."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = read_config(directory / "config.json")

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """Tensor → the file that holds it."""
        files: dict[str, Path] = {}
        for path in sorted(self.directory.glob(f"*{WEIGHTS}")):
            with self._opened(path) as opened:
                files |= dict.fromkeys(opened.keys(), path)
        return files

    def shards(self) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """(name of a file, its tensors)."""
        for path in sorted(set(self.files.values())):
            with self._opened(path) as opened:
                yield path.name, {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  # no mapping

    def tensor(self, name: str) -> torch.Tensor:
        with self._opened(self.files[name]) as opened:
            value: torch.Tensor = opened.get_tensor(name)
            return value

    def _opened(self, path: Path) -> safe_open:
        try:
            return safe_open(str(path), framework="pt")
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from error
