"""Landlock (Linux): the kernel refuses every path but those that are allowed, whoever opens it, and by whatever call.

Only the standard library is used: the processes that import this have no other.
"""

import ctypes
import os
import struct
from collections.abc import Sequence
from contextlib import suppress

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG, PATH_BENEATH = 1, 1
READING = 0b1101
"""Execute, read a file, read a directory."""
READING_A_FILE = 0b101
DEVICES = 1 << 6 | 1 << 11
RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Version of the interface → number of its rights, from this version on."""
SCOPED_SINCE, SCOPES = 6, 0b11
"""No signals to processes outside, and no sockets of theirs."""
NO_NEW_PRIVILEGES = 38


def allow_only(readable: Sequence[str], writable: Sequence[str]) -> bool:
    """Restrict this process, for good, to reading below some paths and to writing below others. False where the kernel
    cannot.
    """
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)
    if version < 1:
        return False
    rights = (1 << next(number for since, number in reversed(RIGHTS.items()) if since <= version)) - 1
    attributes = struct.pack("QQQ", rights, 0, SCOPES if version >= SCOPED_SINCE else 0)
    size = 24 if version >= SCOPED_SINCE else 8
    rules = call(CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    for paths, allowed in ((readable, READING), (writable, rights & ~DEVICES)):
        for path in paths:
            with suppress(OSError):
                _allow(call, rules, path, allowed)
    ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    is_restricted = call(RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return bool(is_restricted)


def _allow(call: "ctypes._NamedFuncPointer", rules: int, path: str, allowed: int) -> None:
    directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        allowed &= READING_A_FILE | 0b10
    call(ADD_RULE, rules, PATH_BENEATH, ctypes.c_char_p(struct.pack("=Qi", allowed, directory)), 0)
    os.close(directory)
