"""The tracker `mlflow`: the server or folder of MLFLOW_TRACKING_URI, by default FOLDER/mlflow."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from grao_pipeline.plugins import require
from grao_pipeline.tracking.base import Tracker


class MlflowTracker(Tracker):
    """An experiment of MLflow: `mlflow ui --backend-store-uri FOLDER/mlflow`."""

    package: ClassVar[str] = "mlflow"
    has_tables: ClassVar[bool] = True

    def __init__(self, folder: Path, project: str) -> None:
        super().__init__(folder, project)
        if "MLFLOW_TRACKING_URI" not in os.environ:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        default = (folder / "mlflow").resolve().as_uri()
        client = require("mlflow").MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", default))
        experiment = client.get_experiment_by_name(project)
        self._experiment = client.create_experiment(project) if experiment is None else experiment.experiment_id
        self._metric = require("mlflow.entities").Metric
        self._client = client
        self._runs: dict[str, str] = {}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run(run), metrics=metrics)

    def log_samples(self, run: str, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        require("pandas")
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        self._client.log_table(self._run(run), columns, f"samples/round-{step}.json")

    def close(self) -> None:
        for identity in self._runs.values():
            self._client.set_terminated(identity)
        self._runs = {}

    def _run(self, name: str) -> str:
        if name not in self._runs:
            self._runs[name] = self._run_named(name)
        return self._runs[name]

    def _run_named(self, name: str) -> str:
        """The run of this name, of an earlier process or a new one."""
        quoted = name.replace("'", "")
        earlier = self._client.search_runs([self._experiment], f"attributes.run_name = '{quoted}'", max_results=1)
        run = earlier[0] if earlier else self._client.create_run(self._experiment, run_name=quoted)
        return str(run.info.run_id)
