"""The tracker `trackio`: Hugging Face's local dashboard, called as W&B is; its folder is that of TRACKIO_DIR."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from grao_pipeline.plugins import require
from grao_pipeline.tracking.trackers.wandb import Run, WandbTracker


class TrackioTracker(WandbTracker):
    """A project of Trackio: `trackio show --project PROJECT`."""

    package: ClassVar[str] = "trackio"

    def _start(self, name: str) -> Run:
        run: Run = self._library.init(project=self.project, name=name, resume="allow", embed=False)
        return run

    def _table(self, rows: Sequence[Mapping[str, object]]) -> object:
        return self._library.Table(dataframe=require("pandas").DataFrame(list(rows)))
