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


def kill_engines() -> None:
    """`kill -9` of the engines of this process: of all that it has started but shells, which guard them."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()  # of the main thread
    engines = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() != "sh"]
    assert engines
    for pid in engines:
        os.kill(pid, signal.SIGKILL)
