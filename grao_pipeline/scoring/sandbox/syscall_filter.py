"""A seccomp filter (Linux): system calls by which a process reaches others, or the kernel's settings, fail with EPERM.

Only the standard library is used: the processes that import this have no other.
"""

import ctypes
import errno
import os
import platform
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, FAIL = 0x7FFF0000, 0x00050000 | errno.EPERM
LOAD, JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in the kernel's description of a call."""
X32_CALLS = 0x40000000
"""x86-64 has every call twice; from here on are those of its 32-bit form."""
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

DENIED: dict[str, tuple[int, ...]] = {
    # fork vfork clone clone3 execve execveat ptrace process_vm_readv process_vm_writev kcmp tkill rt_sigqueueinfo
    # rt_tgsigqueueinfo pidfd_open pidfd_send_signal pidfd_getfd setpriority sched_setparam sched_setscheduler
    # sched_setaffinity sched_setattr ioprio_set migrate_pages move_pages setsid setpgid socket socketpair
    # io_uring_setup shmget msgget semget mq_open mknod mknodat mount umount2 pivot_root chroot unshare setns
    # open_by_handle_at bpf perf_event_open userfaultfd keyctl add_key request_key fanotify_init reboot init_module
    # finit_module kexec_load clock_settime personality
    "x86_64": (
        57, 58, 56, 435, 59, 322, 101, 310, 311, 312, 200, 129,
        297, 434, 424, 438, 141, 142, 144,
        203, 314, 251, 256, 279, 112, 109, 41, 53, 425,
        29, 68, 64, 240, 133, 259, 165, 166, 155, 161, 272, 308, 304, 321,
        298, 323, 250, 248, 249, 300, 169, 175, 313, 246,
        227, 135,
    ),
    "aarch64": (
        220, 435, 221, 281, 117, 270, 271, 272, 130, 138,
        240, 434, 424, 438, 140, 118, 119,
        122, 274, 30, 238, 239, 157, 154, 198, 199, 425,
        194, 186, 190, 180, 33, 40, 39, 41, 51, 97, 268, 265, 280,
        241, 282, 219, 217, 218, 262, 142, 105, 273, 104,
        112, 92,
    ),
}  # fmt: skip
ABOUT_A_PROCESS: dict[str, tuple[int, ...]] = {"x86_64": (62, 234, 302), "aarch64": (129, 131, 261)}
"""kill, tgkill, prlimit64: allowed about this process alone."""


def deny_system_calls() -> bool:
    """Install the filter; it can never be removed. False where the system has none."""
    machine = platform.machine()
    if machine not in DENIED:
        return False
    library = ctypes.CDLL(None, use_errno=True)
    program = _program(machine, os.getpid())
    instructions = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    if library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) == 0)


def _program(machine: str, process: int) -> bytes:
    """The filter as instructions of the classic Berkeley packet filter."""
    code = [_step(LOAD, ARCHITECTURE), _step(JUMP_IF_EQUAL, ARCHITECTURES[machine], 1, 0), _step(RETURN, FAIL)]
    code.append(_step(LOAD, NUMBER))
    if machine == "x86_64":
        code += [_step(JUMP_IF_GREATER_OR_EQUAL, X32_CALLS, 0, 1), _step(RETURN, FAIL)]
    for number in DENIED[machine]:
        code += [_step(JUMP_IF_EQUAL, number, 0, 1), _step(RETURN, FAIL)]
    for number in ABOUT_A_PROCESS[machine]:
        code.append(_step(JUMP_IF_EQUAL, number, 0, 5))
        code.append(_step(LOAD, FIRST_ARGUMENT))
        code += [_step(JUMP_IF_EQUAL, process, 1, 0), _step(JUMP_IF_EQUAL, 0, 0, 1), _step(RETURN, ALLOW)]
        code += [_step(RETURN, FAIL)]
    code.append(_step(RETURN, ALLOW))
    return b"".join(code)


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value)
