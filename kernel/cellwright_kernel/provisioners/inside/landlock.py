"""Landlock: which files, TCP ports, sockets and signals this process may reach from now on (man 7 landlock).

An allow-list that only ever shrinks, kept by the kernel without namespaces. It does not see stat, chmod, chown, utime,
connect to a socket that is a file, or UDP: at the level that rests on it alone, seccomp refuses those (`seccomp.py`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
ASK_VERSION = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR = (1 << bit for bit in range(8))
MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(8, 16))

RIGHTS_OF = {1: 13, 2: 14, 3: 15, 4: 15}
"""ABI version -> how many of the rights above it knows; all of them from 5 on."""
BIND_AND_CONNECT_TCP = 3
ABSTRACT_SOCKETS_AND_SIGNALS = 3

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = ((1 << 16) - 1) & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)  # everything but devices
SOCKETS = READ_DIR | READ_FILE | WRITE_FILE | MAKE_SOCK | REMOVE_FILE  # no links that would lead the host elsewhere
TERMINAL = READ_FILE | WRITE_FILE | READ_DIR | IOCTL_DEV
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that this system has; 0: none."""
    return max(0, int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(ASK_VERSION))))


def restrict(
    read: Iterable[str], write: Iterable[str], sockets: Iterable[str], terminals: Iterable[str], deny_tcp: bool
) -> None:
    """Allow these paths and nothing else; deny abstract sockets and signals to the outside where the system can.

    Paths that don't exist are left out. Raises `OSError`.
    """
    version = abi()
    if not version:
        raise OSError(errno.ENOSYS, "this Linux has no Landlock")
    handled = (1 << RIGHTS_OF.get(version, 16)) - 1
    net = BIND_AND_CONNECT_TCP if version >= 4 and deny_tcp else 0
    scoped = ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = struct.pack("QQQ", handled, net, scoped)
    ruleset = _call("create_ruleset", CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    for paths, rights in ((read, READ), (write, WRITE), (sockets, SOCKETS), (terminals, TERMINAL)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    _call("restrict_self", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= FOR_FILES
        rule = struct.pack("=Qi", rights, beneath)
        _call("add_rule " + path, ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(beneath)


def _call(what: str, number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, "landlock " + what + ": " + os.strerror(code))
    return result
