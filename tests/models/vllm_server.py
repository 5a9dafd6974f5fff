"""A real vLLM server on loopback, serving a tiny model on CPU."""

import os
import runpy
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from grao_pipeline.free_port import free_port
from grao_pipeline.models.process_guard import dismiss
from grao_pipeline.plugins import require
from tests.commands import forked, write_to
from tests.models.engine_processes import fork_engines

START_SECONDS = 240
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the model computes in the engine's process, which a server has anyway
    "TORCH_COMPILE_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
# In float32, unsplit prefills: what is sampled is then the same in every run, and the same as in process.
FLAGS = [
    *("--host", "127.0.0.1"),
    *("--dtype", "float32"),
    *("--max-model-len", "256"),
    *("--max-num-seqs", "64"),
    *("--max-num-batched-tokens", "4096"),
    *("--kv-cache-memory-bytes", str(16 << 20)),
    "--enforce-eager",
    "--no-enable-chunked-prefill",
    "--disable-log-stats",
]


class VllmServer:
    """A server process; `with` starts it, waits until it is healthy, and ends it with all its children. They also end
    when this process is killed.

    Example:
        with VllmServer(model, tmp_path / "server.log") as server:
            urllib.request.urlopen(f"{server.base_url}/models")

    Args:
        log: file for what the server prints.
        flags: further flags, e.g. `["--logprobs-mode", "processed_logprobs"]`.
    """

    def __init__(self, model: Path, log: Path, flags: Sequence[str] = ()) -> None:
        self.model = model
        self.port = free_port("127.0.0.1")
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self._log = log
        self._flags = list(flags)
        self._process: ForkServerProcess | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "VllmServer":
        self.start()
        self.wait_until_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process, on the same port every time."""
        arguments = ["--model", str(self.model), "--served-model-name", "tiny", "--port", str(self.port)]
        require("vllm")  # so that the process that forks imports it, too, once for all servers
        environment = {**os.environ, **ENVIRONMENT}
        self._process = forked(_serve, [*arguments, *FLAGS, *self._flags], environment, self._log)
        # A shell waits until its standard input closes, which happens however this process ends.
        guard = ["sh", "-c", 'read -r line; kill -s KILL -- "-$1"', "sh", str(self._process.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)

    def wait_until_healthy(self) -> None:
        """Wait for /health.

        Raises:
            RuntimeError: the server ended, or took too long; holds the end of its log.
        """
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._is_healthy():
            if not self._process.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"The vLLM server does not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """`kill -9` of the server and of its engine process."""
        if self._process is not None and self._process.pid is not None and self._guard is not None:
            with suppress(ProcessLookupError):  # it may have ended already
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.join()
            dismiss(self._guard)
            self._process = self._guard = None

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _serve(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """In a new process: be vLLM's server."""
    os.setsid()  # `kill` ends its children, too
    write_to(log, 1, 2)
    os.environ.update(environment)
    fork_engines()
    sys.argv = ["vllm.entrypoints.openai.api_server", *arguments]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
