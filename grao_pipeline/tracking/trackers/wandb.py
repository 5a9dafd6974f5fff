"""The tracker `wandb`: Weights & Biases, with its variables (WANDB_MODE=offline, WANDB_DIR, …)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.plugins import require
from grao_pipeline.tracking.base import Tracker


class WandbTracker(Tracker):
    """A project of Weights & Biases; a training that is resumed stays one run."""

    package: ClassVar[str] = "wandb"

    def __init__(self, folder: Path, project: str) -> None:
        super().__init__(folder, project)
        self._wandb = require("wandb")
        self._runs: dict[str, Any] = {}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        if run not in self._runs:
            identity = fingerprint([self.project, str(self.folder.resolve()), run])
            self._runs[run] = self._wandb.init(
                project=self.project, name=run, id=identity, resume="allow", reinit="create_new"
            )
        self._runs[run].log(dict(values), step=step)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs = {}
