"""Commands on a Ray cluster whose machines share this one's files and working directory."""

from contextlib import closing

from grao_pipeline.processes import StopSignals
from grao_pipeline.ray_cluster import RayCluster
from grao_pipeline.ray_commands import RayCommandGroup
from grao_pipeline.rounds.executors.base import Result, StageResources


class RayCommands:
    """Each command is a child of an actor that holds the stage's resources; when this process dies, so do both. One of
    several machines (`nodes`) is started on each of them, with a place to meet.

    The cluster is the one of RAY_ADDRESS, or a Ray on this machine.

    Raises:
        MissingDependency: Ray is not installed.
        StageFailure: the cluster cannot be reached.
    """

    def __init__(self) -> None:
        self._cluster = RayCluster()

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        nodes = resources.nodes
        reserved = {"CPU": resources.num_cpus, "GPU": resources.num_gpus, **resources.resources}
        with closing(RayCommandGroup(self._cluster, nodes, reserved)) as group:
            if nodes > 1:
                arguments = [*arguments, "--nodes", str(nodes), "--rendezvous", group.meeting_place(signals)]
            ends = group.run([arguments] * nodes, signals)
        failed = next((end for end in ends if end.exit_code > 0), next((end for end in ends if end.exit_code), ends[0]))
        return Result(failed.exit_code, failed.stdout)

    def close(self) -> None:
        self._cluster.close()
