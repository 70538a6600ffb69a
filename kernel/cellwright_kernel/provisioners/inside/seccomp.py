"""seccomp: which system calls this process and all its children are refused from now on (man 2 seccomp).

A filter in classic BPF, written by hand so that nothing need be installed. It refuses what no data analysis needs and
what past escapes used: other namespaces, mounts, io_uring, BPF, keys, tracing, setuid files, sockets of strange
families. On its own, without namespaces, it also refuses what Landlock does not see (`alone`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .syscalls import AUDIT_ARCH, NUMBERS, X86_64, machine

    Instruction = tuple[int, int, int, int]
    """Operation, jump if true, jump if false, operand."""
else:
    try:
        from .syscalls import AUDIT_ARCH, NUMBERS, X86_64, machine
    except ImportError:  # in the sandbox there is no package, only a folder
        from syscalls import AUDIT_ARCH, NUMBERS, X86_64, machine

LOAD, JUMP_IF_EQUAL, JUMP_IF_BITS, JUMP_IF_AT_LEAST, AND, RETURN = 0x20, 0x15, 0x45, 0x35, 0x54, 0x06
ALLOW, FAIL_WITH, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
SET_MODE_FILTER, FLAG_ALL_THREADS = 1, 1
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 5, 0xF
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
O_CREAT, O_TMPFILE = 0o100, 0o20000000
"""Flags with which open() takes a mode; the second, for a file that gets its name later, is O_TMPFILE's own bit."""
SETUID_OR_SETGID = 0o6000
NEW_NAMESPACES = 0x7E020080
ALL_BITS = 0xFFFFFFFF

NEVER = """
    acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init finit_module fsconfig
    fsmount fsopen fspick init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load
    kexec_load keyctl lookup_dcookie mbind memfd_create memfd_secret migrate_pages modify_ldt mount mount_setattr
    move_mount move_pages mq_open mq_unlink msgctl msgget msgrcv msgsnd name_to_handle_at nfsservctl open_by_handle_at
    open_tree open_tree_attr perf_event_open personality pidfd_getfd pivot_root process_madvise process_mrelease
    process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot request_key semctl semget semop semtimedop
    set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday shmat shmctl shmdt shmget
    swapoff swapon sysfs syslog _sysctl umount2 unshare uselib userfaultfd ustat vhangup
""".split()
"""Refused at every level. memfd_create: memory that no limit counts. clone3 and openat2 can't be read by a filter."""

NOT_ALONE = """
    chmod chown connect fchmodat fchmodat2 fchownat file_setattr futimesat inotify_add_watch lchown lremovexattr
    lsetxattr removexattr removexattrat setxattr setxattrat utime utimes
""".split()
"""Refused where Landlock stands alone: it sees neither changes to a file's mode, owner, times and attributes by path,
nor a connection to a socket that is a file (Docker's, the SSH agent's). The forms for an open file stay allowed."""

PRETEND = {
    "sched_setaffinity": 0, "sched_setattr": 0, "sched_setparam": 0, "sched_setscheduler": 0, "setpriority": 1,
    "ioprio_set": 1,
}  # fmt: skip
"""Call -> which argument names the process or thread. Without a namespace it could be any of the person's, so nothing
is done; but success is said, because libzmq sets its threads' priority and aborts the process when it may not."""


class Test(NamedTuple):
    """A condition on one argument: a bit of `any_of` is set, or its value (under `mask`) is `not_in` a list."""

    argument: int
    any_of: int = 0
    not_in: tuple[int, ...] = ()
    mask: int = ALL_BITS
    high: bool = False
    """The upper 32 bits of the argument instead of the lower."""


def restrict(families: Sequence[int], alone: bool) -> None:
    """Install the filter for all threads. Raises `OSError`, or `ValueError` on an unknown machine.

    families: address families of sockets that may be made.
    alone: there are no namespaces and no private mounts around this process.
    """
    code = program(families, alone)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    number = NUMBERS[machine()]["seccomp"]
    if libc.syscall(number, ctypes.c_ulong(SET_MODE_FILTER), ctypes.c_ulong(FLAG_ALL_THREADS), fprog):
        code_of_error = ctypes.get_errno()
        raise OSError(code_of_error, "seccomp: " + os.strerror(code_of_error))


def program(families: Sequence[int], alone: bool) -> bytes:
    """The filter as the kernel takes it."""
    here = machine()
    numbers = NUMBERS[here]
    out = [
        (LOAD, 0, 0, ARCH_AT),
        (JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH[here]),
        (RETURN, 0, 0, KILL_PROCESS),
    ]
    if here == X86_64:  # the x32 variant has other numbers for the same calls
        out += [(LOAD, 0, 0, NUMBER_AT), (JUMP_IF_AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, FAIL_WITH | errno.ENOSYS)]
    # "No such call" makes libc fall back to the older one, whose arguments a filter can see.
    for name in ("clone3", "openat2"):
        out += refuse(numbers, name, error=errno.ENOSYS)
    out += refuse(numbers, "clone", Test(0, any_of=NEW_NAMESPACES))
    out += refuse(numbers, "socket", Test(0, not_in=tuple(families)), error=errno.EAFNOSUPPORT)
    out += refuse(numbers, "socket", Test(0, not_in=(AF_UNIX, AF_INET, AF_INET6)), Test(2, any_of=ALL_BITS))
    for request in (TIOCSTI, TIOCLINUX):  # typing into the terminal that started the notebook
        out += refuse_value(numbers, "ioctl", 1, request)
    out += no_setuid_files(numbers)
    for name in NEVER:
        out += refuse(numbers, name)
    if alone:
        out += where_landlock_stands_alone(numbers)
    out.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in out)


def no_setuid_files(numbers: dict[str, int]) -> Iterable[Instruction]:
    """No file of the sandbox may lend its owner's rights to others, by whichever call it is made."""
    modes = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}
    for name, mode in modes.items():
        yield from refuse(numbers, name, Test(mode, any_of=SETUID_OR_SETGID))
    for name, flags, mode in (("open", 1, 2), ("openat", 2, 3)):
        yield from refuse(numbers, name, Test(flags, any_of=O_CREAT | O_TMPFILE), Test(mode, any_of=SETUID_OR_SETGID))


def where_landlock_stands_alone(numbers: dict[str, int]) -> Iterable[Instruction]:
    """What else is refused when the person's files, sockets and processes can be named."""
    for name in NOT_ALONE:
        yield from refuse(numbers, name)
    yield from refuse(numbers, "prlimit64", Test(0, any_of=ALL_BITS))  # limits of others; 0 is oneself
    for name, argument in PRETEND.items():
        yield from refuse(numbers, name, Test(argument, any_of=ALL_BITS), error=0)
    for high in (False, True):  # times of an open file (no path) may be set
        yield from refuse(numbers, "utimensat", Test(1, any_of=ALL_BITS, high=high))
    # A datagram socket needs no connect to reach a socket that is a file, and one of a pair is a datagram socket, too.
    yield from refuse(numbers, "socket", Test(0, not_in=(AF_INET, AF_INET6, AF_NETLINK)), stream_only())
    yield from refuse(numbers, "socketpair", Test(1, not_in=(SOCK_STREAM, SOCK_SEQPACKET), mask=SOCK_TYPE_MASK))


def stream_only() -> Test:
    """True for sockets that are no streams."""
    return Test(1, not_in=(SOCK_STREAM,), mask=SOCK_TYPE_MASK)


def refuse(numbers: dict[str, int], name: str, *tests: Test, error: int = errno.EPERM) -> list[Instruction]:
    """Fail the call when all tests hold; a block that can be left at its end. Empty where there is no such call."""
    if name not in numbers:
        return []
    block: list[Instruction] = [(RETURN, 0, 0, FAIL_WITH | error)]
    for test in reversed(tests):
        block = _load(test) + _jumps(test, len(block)) + block
    return [(LOAD, 0, 0, NUMBER_AT), (JUMP_IF_EQUAL, 0, len(block), numbers[name]), *block]


def refuse_value(numbers: dict[str, int], name: str, argument: int, value: int) -> list[Instruction]:
    """Fail the call when an argument is exactly `value`."""
    block = [
        (LOAD, 0, 0, ARGUMENTS_AT + 8 * argument),
        (JUMP_IF_EQUAL, 0, 1, value),
        (RETURN, 0, 0, FAIL_WITH | errno.EPERM),
    ]
    return [(LOAD, 0, 0, NUMBER_AT), (JUMP_IF_EQUAL, 0, len(block), numbers[name]), *block]


def _load(test: Test) -> list[Instruction]:
    word = (LOAD, 0, 0, ARGUMENTS_AT + 8 * test.argument + (4 if test.high else 0))
    return [word] if test.mask == ALL_BITS else [word, (AND, 0, 0, test.mask)]


def _jumps(test: Test, rest: int) -> list[Instruction]:
    """Go on with the `rest` instructions that follow when the test holds, else past them."""
    if test.any_of:
        return [(JUMP_IF_BITS, 0, rest, test.any_of)]
    last = len(test.not_in) - 1
    return [(JUMP_IF_EQUAL, rest + last - at, 0, value) for at, value in enumerate(test.not_in)]
