"""The processes that vLLM starts for its engines."""

import os
import signal
from collections.abc import Callable
from pathlib import Path


def fork_engines() -> None:
    """From now on, vLLM forks the process of an engine, as it does on a GPU. On a CPU it spawns it, which imports
    everything once more, since a fork loses threads: in a process that a test has forked there is one.
    """
    from vllm.platforms.cpu import CpuPlatform

    check: Callable[[object], None] = CpuPlatform.check_and_update_config

    def check_and_fork(config: object) -> None:
        check(config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    CpuPlatform.check_and_update_config = staticmethod(check_and_fork)


def engines_of(process: int) -> list[int]:
    """The process IDs of all that a process has started from its main thread, but of shells, which guard the others."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() != "sh"]


def kill_engines() -> None:
    """`kill -9` of the engines of this process."""
    engines = engines_of(os.getpid())
    assert engines
    for pid in engines:
        os.kill(pid, signal.SIGKILL)
