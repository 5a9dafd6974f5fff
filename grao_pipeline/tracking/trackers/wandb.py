"""The tracker `wandb`: Weights & Biases, with its variables (WANDB_MODE=offline, WANDB_DIR, …)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.plugins import require
from grao_pipeline.tracking.base import Tracker


class Run(Protocol):
    """A run of the library."""

    def log(self, values: Mapping[str, object], *, step: int) -> None: ...

    def finish(self) -> None: ...


class WandbTracker(Tracker):
    """A project of Weights & Biases; a training that is resumed stays one run."""

    package: ClassVar[str] = "wandb"
    has_tables: ClassVar[bool] = True

    def __init__(self, folder: Path, project: str) -> None:
        super().__init__(folder, project)
        self._library = require(self.package)
        self._runs: dict[str, Run] = {}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        self._run(run).log(dict(values), step=step)

    def log_samples(self, run: str, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        self._run(run).log({"samples": self._table(rows)}, step=step)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs = {}

    def _run(self, name: str) -> Run:
        if name not in self._runs:
            self._runs[name] = self._start(name)
        return self._runs[name]

    def _start(self, name: str) -> Run:
        identity = fingerprint([self.project, str(self.folder.resolve()), name])
        run: Run = self._library.init(project=self.project, name=name, id=identity, resume="allow", reinit="create_new")
        return run

    def _table(self, rows: Sequence[Mapping[str, object]]) -> object:
        return self._library.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
