"""The tracker `trackio`: Hugging Face's local dashboard, called as W&B is; its folder is that of TRACKIO_DIR."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from grao_pipeline.plugins import require
from grao_pipeline.tracking.trackers.wandb import WandbTracker


class TrackioTracker(WandbTracker):
    """A project of Trackio: `trackio show --project PROJECT`."""

    package: ClassVar[str] = "trackio"

    def _start(self, name: str) -> Any:
        return self._library.init(project=self.project, name=name, resume="allow", embed=False)

    def _table(self, rows: Sequence[Mapping[str, object]]) -> Any:
        return self._library.Table(dataframe=require("pandas").DataFrame(list(rows)))
