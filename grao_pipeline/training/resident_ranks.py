"""Ranks of a training that stay for the next one, in a process that does several (`residence.py`): they keep what they
have imported. Those of a single training run below torch's elastic launcher (`launch.py`).
"""

from collections.abc import Mapping, Sequence

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # a gap in its stubs

from grao_pipeline.processes import StopSignals
from grao_pipeline.share_processes import Failure, ShareProcesses
from grao_pipeline.worker_protocol import Command

HOST = "127.0.0.1"


def run_resident_ranks(
    arguments: Sequence[str], count: int, environment: Mapping[str, str], of_process: Mapping[str, str]
) -> Failure | None:
    """Run `grao ARGUMENTS` in as many ranks on this machine as `count` says, and wait for them. They find each other as
    those of torchrun do: the store where they meet is this process's.

    Args:
        environment: variables of the command.
        of_process: variables that a rank has from its start.

    Returns:
        the rank that failed, the others are stopped then; None where all succeeded.

    Raises:
        Interrupted: SIGTERM or SIGINT; the ranks have saved their finished steps.
    """
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": HOST, "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": str(True)}
    command = Command(arguments, {**environment, **meeting})
    size = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    ranks = [{**of_process, **size, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    with StopSignals() as signals, ShareProcesses.taken() as processes:
        return processes.run([(command, rank) for rank in ranks], signals)
