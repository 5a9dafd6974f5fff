"""Checkpoints for exact resume: weights, optimizer and random state in one file, whole or not at all."""

import json
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.training.output import remove_temporaries, sync, write_atomically

CHECKPOINTS = "checkpoints"
CLAIM = "training.json"
TAKEN = ("config.json", "metrics.jsonl", "*.safetensors", "*.bin", "*.parquet", "checkpoints/step-*.pt")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk. `step` optimizer steps are done."""

    path: Path
    step: int


class CheckpointStore:
    """The checkpoints of one training run, in `OUT/checkpoints`; only the newest is kept.

    `OUT/checkpoints/training.json` is written before anything else and deleted when the model is complete. While it is
    there, what `OUT` holds belongs to the unfinished training whose fingerprint it names.

    Raises (on construction):
        MismatchError: `OUT` holds other work; it is neither mixed with this nor overwritten.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self._out = out
        self._root = out / CHECKPOINTS
        self._fingerprint = fingerprint
        self._refuse_other_work()
        found = self._found()
        self.latest = found[-1] if found else None

    def claim(self) -> None:
        """Make `OUT` the place of this training, and delete what a killed run of it left half-written.

        Raises:
            InputError: the place cannot be written.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            remove_temporaries(self._out)
            remove_temporaries(self._root)
            write_atomically(self._root / CLAIM, json.dumps({"fingerprint": self._fingerprint}) + "\n")
        except OSError as error:
            raise InputError(f"Cannot write {self._out}: {error.strerror or error}.") from error

    def save(self, step: int, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint, then delete the one before it."""
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        final = self._root / f"step-{step:08d}.pt"
        temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        torch.save(state, temporary)
        sync(temporary)
        os.replace(temporary, final)
        for checkpoint in self._found():
            if checkpoint.step < step:
                checkpoint.path.unlink()

    def load(self, checkpoint: Checkpoint, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Restore weights, optimizer and random state.

        Raises:
            InputError: the checkpoint cannot be read.
        """
        try:
            state = torch.load(checkpoint.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            problem = (str(error).splitlines() or [repr(error)])[0]
            raise InputError(f"{checkpoint.path} is damaged ({problem}). Delete it to start anew.") from error
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])
        for device, random_state in enumerate(state["cuda_rng"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(random_state, device)

    def _refuse_other_work(self) -> None:
        if self._out.exists() and not self._out.is_dir():
            raise MismatchError(f"{self._out} is a file; OUT is the directory of the model. Choose another name.")
        claim = self._root / CLAIM
        if claim.is_file():
            other = _fingerprint_in(claim)
            if other != self._fingerprint:
                raise MismatchError(
                    f"{self._out} belongs to the unfinished training {other}, this command is {self._fingerprint}: "
                    "model, groups, advantages or options differ. Choose another output directory, or delete this one."
                )
            return
        taken = sorted(str(path.relative_to(self._out)) for pattern in TAKEN for path in self._out.glob(pattern))
        if taken:
            raise MismatchError(
                f"{self._out} already holds {', '.join(taken[:3])}, which this training did not write. "
                "Choose another output directory."
            )

    def _found(self) -> list[Checkpoint]:
        paths = sorted(self._root.glob("step-*.pt"))
        return [Checkpoint(path, int(path.stem.removeprefix("step-"))) for path in paths]


def remove_checkpoints(out: Path) -> None:
    """Delete what a training kept for its resume: the model is complete and takes its place."""
    root = out / CHECKPOINTS
    for path in [*root.glob("step-*.pt"), *root.glob(".*.tmp"), root / CLAIM]:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or it holds files of others
        root.rmdir()


def _fingerprint_in(claim: Path) -> str:
    try:
        return str(json.loads(claim.read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{claim} is damaged ({error!r}). Delete {claim.parent.parent} to start anew.") from error
