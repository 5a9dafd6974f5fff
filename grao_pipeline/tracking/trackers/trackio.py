"""The tracker `trackio`: Hugging Face's local dashboard; its folder is that of TRACKIO_DIR."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from grao_pipeline.plugins import require
from grao_pipeline.tracking.base import Tracker


class TrackioTracker(Tracker):
    """A project of Trackio: `trackio show --project PROJECT`."""

    package: ClassVar[str] = "trackio"

    def __init__(self, folder: Path, project: str) -> None:
        super().__init__(folder, project)
        self._trackio = require("trackio")
        self._runs: dict[str, Any] = {}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        if run not in self._runs:
            self._runs[run] = self._trackio.init(project=self.project, name=run, resume="allow", embed=False)
        self._runs[run].log(dict(values), step=step)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs = {}
