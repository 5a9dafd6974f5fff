"""The program that runs a completion and its tests in a separate process, under limits.

It is a script that needs only the standard library: `python -P -s -S harness.py < job.json`. It reports on standard
output, and every line begins with a nonce from the job, so that neither output of the completion nor an early exit
counts as a report.

It stops a completion that does harm or cheats by accident, or because a policy stumbled upon a trick. It does not stop
code that was written to break out of a Python process: see `python_runner`.
"""

import _thread
import builtins
import json
import os
import resource
import sys
import types
from typing import NoReturn

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
LONGEST_MESSAGE = 200
OPEN_FILES = 64
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
READABLE_FILES = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/zero")
FORBIDDEN = (
    ("socket.", "the network"),
    ("os.fork", "processes"),
    ("os.exec", "processes"),
    ("os.posix_spawn", "processes"),
    ("os.spawn", "processes"),
    ("os.system", "processes"),
    ("subprocess.", "processes"),
    ("pty.", "processes"),
    ("os.kill", "processes"),
    ("signal.pthread_kill", "processes"),
    ("ctypes.", "foreign functions"),  # they would bypass all other rules
    ("os.chdir", "another directory"),
    ("os.fchdir", "another directory"),
)
WRITES_AT_PATHS = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr", "shutil.",
)  # fmt: skip


def isolate_network() -> None:
    """Enter a network namespace without interfaces, if the kernel allows it (Linux; user namespaces unless root)."""
    import ctypes

    try:
        unshare = ctypes.CDLL(None).unshare
    except AttributeError:
        return  # not Linux: only the audit hook refuses sockets
    if unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        unshare(CLONE_NEWNET)


def limit_resources(seconds: int, memory_mib: int, file_mib: int) -> None:
    """Set limits that the kernel enforces: below the user's limits, and impossible to raise again."""
    limits = {
        resource.RLIMIT_FSIZE: file_mib << 20,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_NPROC: 0,  # no process and no thread; for root, only the audit hook refuses them
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = memory_mib << 20
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowered, lowered))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU tells the reason; then SIGKILL


def forbid_the_outside(directory: str) -> None:
    """Install an audit hook: no network, no processes, and no files except those in `directory` and, for reading,
    Python's library.

    Threads are refused too: the limit on processes counts them, except for root, and a verdict must not depend on the
    user.
    """
    library = tuple(os.path.realpath(path) + os.sep for path in (sys.base_prefix, sys.base_exec_prefix))
    inside = os.path.realpath(directory) + os.sep
    join, realpath, fsdecode = os.path.join, os.path.realpath, os.fsdecode

    def refuse(what: str) -> NoReturn:
        raise PermissionError(f"the sandbox has no access to {what}")

    def check(path: object, readable: bool) -> None:
        if not isinstance(path, str | bytes):
            return  # a descriptor: its file was opened under the same rule
        real = realpath(join(inside, fsdecode(path)))
        if not (real + os.sep).startswith(inside) and not (
            readable and (real in READABLE_FILES or real.startswith(library))
        ):
            refuse(f"{path!r}")

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        for prefix, what in FORBIDDEN:
            if event.startswith(prefix):
                refuse(what)
        if event == "open":
            flags = arguments[2]
            check(arguments[0], readable=not (isinstance(flags, int) and flags & WRITING))
        elif event == "sqlite3.connect":
            if arguments[0] != ":memory:":
                check(arguments[0], readable=False)
        elif event.startswith(WRITES_AT_PATHS):
            for path in arguments:
                check(path, readable=False)

    def no_thread(*_arguments: object, **_named: object) -> NoReturn:
        refuse("threads")

    for name in ("start_new_thread", "start_new", "start_joinable_thread"):
        if hasattr(_thread, name):
            setattr(_thread, name, no_thread)
    sys.addaudithook(hook)


def message_of(error: BaseException, test: str | None = None) -> str:
    """A failure for people; for an assertion without message, its source."""
    try:
        text = str(error)
    except Exception:
        text = ""
    if isinstance(error, AssertionError) and not text and test is not None:
        text = test.strip()
    return f"{type(error).__name__}: {text}"[:LONGEST_MESSAGE]


def main() -> None:
    job = json.load(sys.stdin)
    reports, nonce, dumps, write = os.dup(1), job.pop("nonce"), json.dumps, os.write
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)

    def report(**values: object) -> None:
        write(reports, f"{nonce} {dumps(values)}\n".encode())

    isolate_network()
    limit_resources(job["seconds"], job["memory_mib"], job["file_mib"])
    module = types.ModuleType("completion")
    sys.modules["completion"] = module
    run, leave = builtins.exec, os._exit
    forbid_the_outside(os.getcwd())
    report(ready=True)
    try:
        run(compile(job["code"], "completion.py", "exec"), module.__dict__)
    except BaseException as error:
        report(failed=message_of(error))
        leave(0)
    report(code=True)
    for index, test in enumerate(job["tests"]):
        try:
            run(compile(test, f"test-{index}.py", "exec"), module.__dict__)
        except BaseException as error:
            report(test=index, failed=message_of(error, test))
        else:
            report(test=index, failed=None)
    leave(0)


if __name__ == "__main__":
    main()
