"""The Ray cluster that engines and stages run on."""

import os
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from grao_pipeline.errors import StageFailure
from grao_pipeline.options import StageOptions, option_flag
from grao_pipeline.plugins import require

RAY_ADDRESS_HELP = "Address of the Ray cluster; RAY_ADDRESS, or a Ray started on this machine, by default."
"""Of the options `ray_address`."""
OPTIONS = ("actors", "actor_gpus", "ray_address")
"""That have no effect without Ray."""


class RayStageOptions(StageOptions):
    """Base of the options of stages that may run on Ray."""

    if TYPE_CHECKING:  # a field of the subclasses, each of which has its own help and place for it
        executor: Literal["local", "ray"] = "local"

    def here(self) -> Self:
        """Those of the command that an actor runs."""
        return self.model_copy(update={"executor": "local", **self._of_ray()})

    def _of_ray(self) -> dict[str, object]:
        """The options of Ray that were given, with their defaults."""
        defaults = {name: type(self).model_fields[name].default for name in self.model_fields_set.intersection(OPTIONS)}
        return {name: default for name, default in defaults.items() if getattr(self, name) != default}

    @model_validator(mode="after")
    def _ray_options_need_ray(self) -> Self:
        without_effect = sorted(self._of_ray()) if self.executor == "local" else []
        if without_effect:
            raise ValueError(f"{option_flag(without_effect[0])} has no effect without --executor ray")
        return self


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
