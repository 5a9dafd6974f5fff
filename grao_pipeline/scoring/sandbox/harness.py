"""The program that runs a completion and its tests, in a process of its own, under limits.

A script on the standard library alone: `python -P -s -S harness.py < job.json`. It reports over standard output, each
line behind a nonce that the job brings, so that nothing that the completion prints, and no early exit, is a report.

What it keeps from whom: a completion that does harm or cheats by accident, or because a policy stumbled upon it, is
stopped. Code that is written to break out of a Python process is not: see `python_runner`.
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
    ("ctypes.", "foreign functions"),  # they pass every other rule
    ("os.chdir", "another directory"),
    ("os.fchdir", "another directory"),
)
WRITES_AT_PATHS = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr", "shutil.",
)  # fmt: skip


def isolate_network() -> None:
    """A network namespace with no interface, where the kernel allows one (Linux; user namespaces unless root)."""
    import ctypes

    try:
        unshare = ctypes.CDLL(None).unshare
    except AttributeError:
        return  # no Linux: the audit hook alone refuses sockets
    if unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        unshare(CLONE_NEWNET)


def limit_resources(seconds: int, memory_mib: int, file_mib: int) -> None:
    """Limits that the kernel enforces. They are below the user's own, and can only be lowered from here on."""
    wanted = {
        resource.RLIMIT_FSIZE: file_mib << 20,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_NPROC: 0,  # no process and no thread; does not bind root, whom the audit hook refuses
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        wanted[resource.RLIMIT_AS] = memory_mib << 20
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowered, lowered))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU says what it was; then SIGKILL


def forbid_the_outside(directory: str) -> None:
    """An audit hook: no network, no processes, no files but those in `directory` and (to read) Python's own library.

    Threads are refused too: the limit on processes counts them, but not for root, and a verdict must not depend on
    who runs it.
    """
    library = tuple(os.path.realpath(path) + os.sep for path in (sys.base_prefix, sys.base_exec_prefix))
    inside = os.path.realpath(directory) + os.sep
    join, realpath, fsdecode = os.path.join, os.path.realpath, os.fsdecode

    def refuse(what: str) -> NoReturn:
        raise PermissionError(f"the sandbox has no access to {what}")

    def check(path: object, readable: bool) -> None:
        if not isinstance(path, str | bytes):
            return  # a descriptor: what it stands for was opened under the same rule
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
    """What a person wants to know of a failure; a bare assertion is shown itself."""
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
