"""The tracker `trackio`: Hugging Face's local dashboard; its folder is that of TRACKIO_DIR."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from grao_pipeline.plugins import require
from grao_pipeline.tracking.base import Tracker


class TrackioTracker(Tracker):
    """A project of Trackio: `trackio show --project PROJECT`."""

    package: ClassVar[str] = "trackio"
    has_tables: ClassVar[bool] = True

    def __init__(self, folder: Path, project: str) -> None:
        super().__init__(folder, project)
        self._trackio = require("trackio")
        self._runs: dict[str, Any] = {}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        self._run(run).log(dict(values), step=step)

    def log_samples(self, run: str, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        frame = require("pandas").DataFrame(list(rows))
        self._run(run).log({"samples": self._trackio.Table(dataframe=frame)}, step=step)

    def _run(self, name: str) -> Any:
        if name not in self._runs:
            self._runs[name] = self._trackio.init(project=self.project, name=name, resume="allow", embed=False)
        return self._runs[name]

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs = {}
