"""What confines a process that runs code of others: limits, the kernel's fences, and an audit hook that explains.

Only the standard library is used: the processes that import this have no other.
"""

import _thread
import ctypes
import os
import resource
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from grao_pipeline.scoring.sandbox.path_rules import allow_only
from grao_pipeline.scoring.sandbox.syscall_filter import deny_system_calls

CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
NOBODY = 65534
OPEN_FILES = 64
NOT_DUMPABLE, DROP_CAPABILITY, LAST_CAPABILITY = 4, 24, 63
CAPABILITY_VERSION = 0x20080522
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
READABLE_FILES = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/zero")
SYSTEM_LIBRARIES = ("/usr", "/lib", "/lib64", "/etc/localtime", "/etc/ld.so.cache")
"""The dynamic loader may still need them; Python's own `open` is refused."""
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
    ("resource.prlimit", "processes"),
    ("ctypes.", "foreign functions"),  # they would bypass all other rules of this hook
    ("cpython._PySys_ClearAuditHooks", "the audit hook"),
    ("os.chdir", "another directory"),
    ("os.fchdir", "another directory"),
)
WRITES_AT_PATHS = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr", "shutil.",
)  # fmt: skip


def confine(seconds: int, memory_mib: int, file_mib: int) -> None:
    """Confine this process to its current directory, for good."""
    library = tuple(os.path.realpath(path) for path in (sys.base_prefix, sys.base_exec_prefix))
    limit_resources(seconds, memory_mib, file_mib)
    become_nobody(library)
    isolate_network()
    if sys.platform == "linux":
        if os.geteuid() == 0:  # without a user namespace
            drop_capabilities()
        ctypes.CDLL(None).prctl(NOT_DUMPABLE, 0, 0, 0, 0)  # its memory is closed to other processes of this user
        allow_only([*library, *SYSTEM_LIBRARIES, *READABLE_FILES], [os.getcwd()])
        deny_system_calls()
    forbid_the_outside(os.getcwd(), library)


def isolate_network() -> None:
    """Enter namespaces without network interfaces or shared memory, if the kernel allows it (Linux; user namespaces
    unless root).
    """
    try:
        unshare = ctypes.CDLL(None).unshare
    except AttributeError:
        return  # not Linux: only the audit hook refuses sockets
    if unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) != 0:
        unshare(CLONE_NEWNET | CLONE_NEWIPC)


def limit_resources(seconds: int, memory_mib: int, file_mib: int) -> None:
    """Set limits that the kernel enforces: below the user's limits, and impossible to raise again."""
    limits = {
        resource.RLIMIT_FSIZE: file_mib << 20,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_NPROC: 0,  # no process and no thread; root is held by the filter of system calls alone
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = memory_mib << 20
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowered, lowered))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU tells the reason; then SIGKILL


def become_nobody(library: tuple[str, ...]) -> None:
    """Root becomes nobody, where nobody may read Python's library."""
    if os.geteuid() != 0 or not all(_is_open_to_all(path) for path in library):
        return
    with suppress(OSError):  # a user namespace without a second user
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def drop_capabilities() -> None:
    """Root without root's rights."""
    library = ctypes.CDLL(None)
    for capability in range(LAST_CAPABILITY + 1):
        library.prctl(DROP_CAPABILITY, capability, 0, 0, 0)
    library.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)())


def _is_open_to_all(path: str) -> bool:
    while path != "/":
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
        path = os.path.dirname(path)
    return True


def forbid_the_outside(directory: str, library: tuple[str, ...]) -> None:
    """Install an audit hook: no network, no processes, and no files except those in `directory` and, for reading,
    Python's library. Where the kernel has no fence, it is the only one.

    Threads are refused too: the limit on processes counts them, except for root, and a verdict must not depend on the
    user.
    """
    readable_below = tuple(path + os.sep for path in library)
    inside = os.path.realpath(directory) + os.sep
    join, realpath, fspath, decode = os.path.join, os.path.realpath, os.fspath, _decoder()
    is_instance, is_whole, is_bytes = isinstance, int, bytes

    def refuse(what: str) -> NoReturn:
        raise PermissionError(f"the sandbox has no access to {what}")

    def check(path: object, readable: bool) -> None:
        if is_instance(path, is_whole):
            return  # a descriptor: its file was opened under the same rule
        given = fspath(path)  # type: ignore[call-overload]  # whatever was passed: a TypeError where it is not a path
        text = decode(given) if is_instance(given, is_bytes) else str.__str__(given)
        real = realpath(join(inside, text))
        if not (real + os.sep).startswith(inside) and not (
            readable and (real in READABLE_FILES or real.startswith(readable_below))
        ):
            refuse(f"{text!r}")

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        for prefix, what in FORBIDDEN:
            if event.startswith(prefix):
                refuse(what)
        if event == "open":
            flags = arguments[2]
            if arguments[0] is not None:
                check(arguments[0], readable=not (isinstance(flags, int) and flags & WRITING))
        elif event == "sqlite3.connect":
            if arguments[0] != ":memory:":
                check(arguments[0], readable=False)
        elif event.startswith(WRITES_AT_PATHS):
            for path in arguments:
                if is_instance(path, (str, bytes, os.PathLike)):
                    check(path, readable=False)
        elif event in ("os.listdir", "os.scandir"):
            check("." if arguments[0] is None else arguments[0], readable=True)

    def no_thread(*_arguments: object, **_named: object) -> NoReturn:
        refuse("threads")

    for name in ("start_new_thread", "start_new", "start_joinable_thread"):
        if hasattr(_thread, name):
            setattr(_thread, name, no_thread)
    sys.addaudithook(hook)


def _decoder() -> Callable[[bytes], str]:
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    return lambda path: bytes.decode(path, encoding, errors)
