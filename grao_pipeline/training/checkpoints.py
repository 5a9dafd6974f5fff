"""Checkpoints for exact resume: weights, optimizer, random state and metrics, whole or not at all."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grao_pipeline.errors import InputError, MismatchError

STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk. `step` optimizer steps are done."""

    path: Path
    step: int


class CheckpointStore:
    """The checkpoints of one training run, in `OUT/checkpoints`; only the newest is kept.

    Raises (on construction):
        MismatchError: the checkpoints there are of other work.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self._root = out / "checkpoints"
        self._fingerprint = fingerprint
        found = self._found()
        self.latest = found[-1] if found else None
        if self.latest is not None:
            other = json.loads((self.latest.path / STATE).read_text())["fingerprint"]
            if other != fingerprint:
                raise MismatchError(
                    f"{self.latest.path} belongs to training {other}, this command is {fingerprint}: model, groups, "
                    "advantages or options differ. Choose another output directory, or delete this one."
                )

    def save(self, step: int, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint, then delete the one before it."""
        temporary = self._root / f".step-{step:08d}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        torch.save(state, temporary / "state.pt")
        (temporary / STATE).write_text(json.dumps({"fingerprint": self._fingerprint, "step": step}))
        final = self._root / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        for checkpoint in self._found():
            if checkpoint.step < step:
                shutil.rmtree(checkpoint.path)

    def load(self, checkpoint: Checkpoint, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Restore weights, optimizer and random state.

        Raises:
            InputError: the checkpoint cannot be read.
        """
        try:
            state = torch.load(checkpoint.path / "state.pt", map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError) as error:
            raise InputError(f"{checkpoint.path} is damaged ({error}). Delete it to start anew.") from error
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    def clear(self) -> None:
        """Delete all checkpoints; the trained model takes their place."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _found(self) -> list[Checkpoint]:
        paths = sorted(self._root.glob("step-*")) if self._root.is_dir() else []
        return [Checkpoint(path, int(path.name.removeprefix("step-"))) for path in paths]
