"""The tracker `tensorboard`: event files in FOLDER/tensorboard/RUN, written without torch and TensorFlow."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from grao_pipeline.plugins import require
from grao_pipeline.tracking.base import Tracker

FOLDER = "tensorboard"


class TensorBoardTracker(Tracker):
    """Event files in FOLDER/tensorboard: `tensorboard --logdir FOLDER/tensorboard`."""

    package: ClassVar[str] = "tensorboard"

    def __init__(self, folder: Path, project: str) -> None:
        super().__init__(folder, project)
        self._files = require("tensorboard.summary.writer.event_file_writer")
        self._events = require("tensorboard.compat.proto.event_pb2")
        self._summaries = require("tensorboard.compat.proto.summary_pb2")
        self._writers: dict[str, Any] = {}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        if run not in self._writers:
            self._writers[run] = self._files.EventFileWriter(str(self.folder / FOLDER / run))
        numbers = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        summary = self._summaries.Summary(value=numbers)
        self._writers[run].add_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
