"""The checkpoints in an output directory, and which training owns it. A checkpoint is there whole or not at all."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grao_pipeline.errors import InputError, MismatchError, StageFailure
from grao_pipeline.models.manifest import METRICS, read_model_manifest, verify_model
from grao_pipeline.storage.atomic import write_atomically
from grao_pipeline.storage.input_content import refuse_other_rows
from grao_pipeline.storage.locks import DirectoryLock
from grao_pipeline.storage.manifest import Provenance, differences
from grao_pipeline.training.checkpoints.disk import write_errors_as_failure
from grao_pipeline.training.checkpoints.model_directory import remove_temporaries
from grao_pipeline.training.checkpoints.places import CHECKPOINTS
from grao_pipeline.training.checkpoints.record import CheckpointRecord, record_path
from grao_pipeline.training.checkpoints.state import load_file, load_shards, save_file, save_shards
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.policy import Policy

CLAIM = "training.json"
LOCK = ".lock"
FILE = "step-????????.pt"
SHARDS = "step-????????"
RECORD = "step-????????.json"
OUTPUTS = (
    *("config.json", "adapter_config.json", METRICS, "*.safetensors", "*.bin", "*.parquet"),
    *(f"{CHECKPOINTS}/{kind}" for kind in (FILE, SHARDS)),
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk."""

    path: Path
    """A file, or a directory where the policy is sharded."""
    step: int
    """Optimizer steps that are done."""


class CheckpointStore:
    """The checkpoints of one training run, in `OUT/checkpoints`; only the newest stay on disk.

    `OUT/checkpoints/training.json` is written before anything else and deleted when the model is complete. While it
    exists, the content of `OUT` belongs to the unfinished model whose provenance it holds, once there is a step or a
    file of it. A model that is made without training is claimed in the same way.

    Args:
        keep: how many stay.

    Raises (on construction):
        MismatchError: `OUT` holds something else, which is neither mixed with this training nor overwritten.
    """

    def __init__(self, out: Path, provenance: Provenance, keep: int = 1) -> None:
        self.out = out
        self._keep = keep
        self._root = out / CHECKPOINTS
        self._provenance = provenance
        self._lock: DirectoryLock | None = None
        self._refuse_other_work()

    @property
    def latest(self) -> Checkpoint | None:
        """The checkpoint to resume from."""
        checkpoints = self._checkpoints()
        return checkpoints[-1] if checkpoints else None

    def claim(self) -> None:
        """Reserve `OUT` for this process, and delete the half-written files of a killed run of this training.

        Raises:
            InputError: `OUT` cannot be written.
            StageFailure: another process is training into it.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._lock = DirectoryLock(self.out, LOCK, "being trained into")
            self._refuse_other_work()  # Another process may have written until now.
            remove_temporaries(self.out)
            remove_temporaries(self._root)
            self._remove_lone_records()
            write_atomically(self._root / CLAIM, f"{self._provenance.to_json()}\n".encode())
        except OSError as error:
            raise InputError(f"Cannot write {self.out}: {error.strerror or error}.") from error

    def release(self) -> None:
        """Let another process train into `OUT`; where nothing was done, leave nothing there."""
        if self._lock is None:
            return
        if (self._root / CLAIM).is_file() and not self._has_work():
            (self.out / METRICS).unlink(missing_ok=True)
            remove_temporaries(self.out)
            remove_checkpoints(self.out)
            with suppress(OSError):  # It holds files of others.
                self.out.rmdir()
        self._lock.release()

    def save(
        self,
        step: int,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        ranks: Ranks,
        totals: Mapping[str, object] | None = None,
    ) -> None:
        """Write a checkpoint and its record, then delete those that are too many. A collective: all ranks must call it.

        Args:
            totals: of all steps so far, as JSON; only rank 0's count.

        Raises:
            StageFailure: it cannot be written; the one before it stays.
        """
        final = self._root / (f"step-{step:08d}" if ranks.is_sharded else f"step-{step:08d}.pt")
        temporary = final.with_name(f".{final.name}.tmp")
        earlier = self.latest
        saved = f"Step {earlier.step} is saved" if earlier else "No step is saved"
        remedy = f"{saved}. Free space and run the same command to resume."

        def commit() -> None:
            try:
                with write_errors_as_failure(final, remedy):
                    CheckpointRecord.of(temporary, final.name, self.out, totals or {}).write(final)
                    os.replace(temporary, final)
            except InputError as error:  # the record
                raise StageFailure(f"{error} {remedy}") from error

        try:
            with write_errors_as_failure(final, remedy):
                (save_shards if ranks.is_sharded else save_file)(temporary, policy, optimizer)
            ranks.on_first(commit)
        except StageFailure:
            if ranks.is_first:
                remove_temporaries(self._root)
            raise
        if ranks.is_first:
            for checkpoint in self._checkpoints()[: -self._keep]:
                _remove(checkpoint.path)

    def load(
        self, checkpoint: Checkpoint, policy: Policy, optimizer: torch.optim.Optimizer, ranks: Ranks
    ) -> CheckpointRecord:
        """Verify a checkpoint, and restore weights and optimizer, whatever the number of ranks that wrote them. A
        collective.

        Raises:
            InputError: the checkpoint is damaged.
        """
        record = ranks.from_first(lambda: CheckpointRecord.verified(checkpoint.path))
        if checkpoint.path.suffix == ".pt":
            load_file(checkpoint.path, policy, optimizer, ranks)
        else:
            load_shards(checkpoint.path, policy, optimizer, ranks)
        return record

    def _refuse_other_work(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise MismatchError(f"{self.out} is a file; OUT must be a directory. Choose another name.")
        claim = self._root / CLAIM
        if claim.is_file():
            other, current = _provenance_in(claim), self._provenance
            if other.fingerprint != current.fingerprint and self._has_work():
                raise MismatchError(
                    f"{self.out} holds the unfinished model {other.fingerprint}; this command makes "
                    f"{current.fingerprint}: {differences(other, current)}. Choose another output directory, or "
                    "delete this one."
                )
            if self._has_work():
                refuse_other_rows(self.out, other, current)
            return
        names = self._outputs()
        if names:
            raise MismatchError(
                f"{self.out} already holds {', '.join(names[:3])}, which this command did not write. "
                "Choose another output directory."
            )

    def _has_work(self) -> bool:
        """Whether what claims `OUT` has done a step, or written a file of the model."""
        metrics = self.out / METRICS
        return self._outputs() not in ([], [METRICS]) or (metrics.is_file() and metrics.stat().st_size > 0)

    def _outputs(self) -> list[str]:
        return sorted(str(path.relative_to(self.out)) for pattern in OUTPUTS for path in self.out.glob(pattern))

    def _remove_lone_records(self) -> None:
        """Delete the records of checkpoints that a killed run did not finish, or that a user deleted."""
        with_checkpoint = {record_path(checkpoint.path) for checkpoint in self._checkpoints()}
        for path in self._root.glob(RECORD):
            if path not in with_checkpoint:
                path.unlink()

    def _checkpoints(self) -> list[Checkpoint]:
        paths = [path for kind in (FILE, SHARDS) for path in self._root.glob(kind)]
        return sorted((Checkpoint(path, int(path.stem.removeprefix("step-"))) for path in paths), key=lambda c: c.step)


def finished_summary(out: Path, provenance: Provenance) -> dict[str, Any] | None:
    """The summary of the model in `out`, verified; None where none is finished. What a killed run left is deleted.

    Raises:
        MismatchError: the model is another one, or was made from rows that were rewritten since.
        InputError: a file of it is damaged.
    """
    manifest = read_model_manifest(out)
    if manifest is None:
        return None
    stored = manifest.provenance
    if stored.fingerprint != provenance.fingerprint:
        raise MismatchError(
            f"{out} holds the model {stored.fingerprint}; this command makes {provenance.fingerprint}: "
            f"{differences(stored, provenance)}. Choose another output directory, or delete this one."
        )
    refuse_other_rows(out, stored, provenance)
    verify_model(out, manifest)
    remove_temporaries(out)
    remove_checkpoints(out)
    return {**manifest.summary, "was_complete": True, "model": manifest.model}


def remove_checkpoints(out: Path) -> None:
    """Delete checkpoints, claim and lock of a training whose model is complete."""
    root = out / CHECKPOINTS
    for path in [path for kind in (FILE, SHARDS) for path in root.glob(kind)]:
        _remove(path)
    for path in root.glob(RECORD):
        path.unlink()
    remove_temporaries(root)
    (root / CLAIM).unlink(missing_ok=True)
    (out / LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # It does not exist, or holds files of others.
        root.rmdir()


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint, then its record. A directory is renamed first, since half of it must not pass for a
    checkpoint.
    """
    if checkpoint.is_dir():
        leftover = checkpoint.with_name(f".{checkpoint.name}.old.tmp")
        os.replace(checkpoint, leftover)
        shutil.rmtree(leftover)
    else:
        checkpoint.unlink()
    record_path(checkpoint).unlink(missing_ok=True)


def _provenance_in(claim: Path) -> Provenance:
    try:
        return Provenance.from_dict(json.loads(claim.read_text()), str(claim))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{claim} is damaged ({error!r}). Delete {claim.parent.parent} to start again.") from error
