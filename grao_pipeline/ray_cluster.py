"""The Ray cluster that engines and stages run on."""

import os
from typing import Any

from grao_pipeline.errors import StageFailure
from grao_pipeline.plugins import require

RAY_ADDRESS_HELP = "Address of the Ray cluster; RAY_ADDRESS, or a Ray started on this machine, by default."
"""Of the options `ray_address`."""


class RayCluster:
    """A connection to a Ray cluster. `close` ends it, unless this process was connected before.

    Example: `cluster = RayCluster(); handle = cluster.ray.remote(Actor).remote()`

    Args:
        address: of the cluster; by default that of RAY_ADDRESS, and without it a Ray that is started on this machine.

    Raises:
        MissingDependency: Ray is not installed.
        StageFailure: the cluster cannot be reached.
    """

    def __init__(self, address: str | None = None) -> None:
        self.ray: Any = require("ray")
        """The module `ray`, connected."""
        self._is_ours = not self.ray.is_initialized()
        if self._is_ours:
            try:
                self.ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
            except Exception as error:  # Ray raises bare ones where its processes do not start
                place = address or os.environ.get("RAY_ADDRESS", "this machine")
                raise StageFailure(f"Cannot connect to a Ray cluster at {place}: {error}") from error

    def close(self) -> None:
        """Disconnect, and stop a Ray that was started here."""
        if self._is_ours:
            self.ray.shutdown()
