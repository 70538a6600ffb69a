"""Attacks on the operating system: namespaces, mounts, and system calls through which others got out."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import pty
import struct

from isolation.attack_tools import NUMBERS, Bait, Refused, checked, in_child, libc, seen, syscall, text_of

NEW_USER, NEW_NET, NEW_MOUNT = 0x10000000, 0x40000000, 0x00020000


def io_uring(bait: Bait) -> str:
    """Do system calls that no filter sees."""
    os.close(syscall("io_uring_setup", 4, ctypes.create_string_buffer(120)))
    return "a ring was made"


def user_namespace(bait: Bait) -> str:
    """Be root in a world of one's own, where much more of the kernel can be attacked."""

    def work() -> str:
        syscall("unshare", NEW_USER)
        return "unshared"

    return in_child(work)


def user_namespace_by_clone(bait: Bait) -> str:
    """The same with clone."""
    return _cloned("clone", NEW_USER | 17, 0, 0, 0, 0)  # 17: SIGCHLD


def user_namespace_by_clone3(bait: Bait) -> str:
    """The same with clone3, whose flags a filter can't see."""
    arguments = struct.pack("=11Q", NEW_USER, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
    return _cloned("clone3", arguments, len(arguments))


def other_namespaces(bait: Bait) -> str:
    """Have a network or mounts of one's own, to attack the kernel there."""

    def work() -> str:
        got = []
        for name, flag in {"mount": NEW_MOUNT, "net": NEW_NET, "uts": 0x04000000, "ipc": 0x08000000}.items():
            with contextlib.suppress(OSError):
                syscall("unshare", flag)
                got.append(name)
        return " ".join(got)

    return in_child(work)


def copy_mounts(bait: Bait) -> str:
    """Take a tree of files and put it elsewhere (the new mount calls)."""
    os.close(syscall("open_tree", -100, b"/", 1))  # OPEN_TREE_CLONE
    return "the root was cloned"


def new_file_system(bait: Bait) -> str:
    """Mount something of one's own."""
    os.close(syscall("fsopen", b"tmpfs", 0))
    return "a file system was opened"


def mount_over(bait: Bait) -> str:
    """Hide a folder behind one's own."""

    def work() -> str:
        with contextlib.suppress(OSError):
            syscall("unshare", NEW_MOUNT)  # keeps the mount from the host where this works: the control is harmless
            checked(libc.mount(b"none", b"/", None, 0x44000, None), "mount")  # private, recursively
        if os.geteuid() == 0 and os.readlink("/proc/self/ns/mnt") == bait["mount_namespace"]:
            raise Refused("it has no mounts of its own, so the attempt would be the host's")
        syscall("mount", b"none", os.getcwdb(), b"tmpfs", 0, 0)
        return "mounted"

    return in_child(work)


def load_bpf(bait: Bait) -> str:
    """Run a program in the kernel."""
    attributes = struct.pack("=IIII", 2, 4, 8, 1) + bytes(112)  # an array map
    os.close(syscall("bpf", 0, attributes, len(attributes)))
    return "a map was made"


def perf_events(bait: Bait) -> str:
    """Measure other programs, to learn their secrets."""
    attributes = struct.pack("=IIQ", 1, 112, 0) + bytes(24) + struct.pack("=Q", 0x60) + bytes(64)
    os.close(syscall("perf_event_open", attributes, 0, -1, -1, 0))
    return "a counter was opened"


def kernel_keys(bait: Bait) -> str:
    """Read keys that the kernel keeps for the person (Kerberos tickets, disk passwords)."""
    found = syscall("keyctl", 10, -4, b"user", bait["kernel_key"].encode(), 0)  # search the user's keyring
    buffer = ctypes.create_string_buffer(256)
    syscall("keyctl", 11, found, buffer, 256)
    return seen(bait["canary"], buffer.value.decode())


def add_kernel_key(bait: Bait) -> str:
    """Leave something behind in the kernel, or use its memory past all limits."""
    key = syscall("add_key", b"user", b"cellwright-planted", b"x", 1, -2)  # into the process's own keyring
    return f"key {key}"


def memory_file(bait: Bait) -> str:
    """Hold memory that no limit counts, and run programs that lie on no disk."""

    def work() -> str:
        file = syscall("memfd_create", b"", 0)
        os.write(file, b"#!/bin/sh\nexit 0\n")
        os.execve(f"/proc/self/fd/{file}", ["program"], {})
        return "unreachable"

    file = syscall("memfd_create", b"planted", 0)
    os.close(file)
    with contextlib.suppress(OSError):
        in_child(work)
    return "a memory file was made"


def secret_memory_file(bait: Bait) -> str:
    """The same with memory that even the host can't look into."""
    os.close(syscall("memfd_secret", 0))
    return "a secret memory file was made"


def user_fault(bait: Bait) -> str:
    """Stop the kernel in the middle of its work, a step of many attacks."""
    os.close(syscall("userfaultfd", 0))
    return "userfaultfd answered"


def change_personality(bait: Bait) -> str:
    """Switch memory protections off, which makes other attacks easier."""

    def work() -> str:
        syscall("personality", 0x0040000 | 0x0400000)  # ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC
        return "changed"

    return in_child(work)


def x32_calls(bait: Bait) -> str:
    """Do system calls by their x32 numbers, which a filter may not know."""
    if platform.machine() != "x86_64":
        raise Refused("only x86-64 has them")
    return f"process {checked(libc.syscall(ctypes.c_long(0x40000000 + 39)), 'x32 getpid')}"


def calls_of_32_bits(bait: Bait) -> str:
    """Do system calls by their 32-bit numbers, which a filter may not know."""
    if platform.machine() != "x86_64":
        raise Refused("only x86-64 is tried")

    def work() -> str:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes.fromhex("53b814000000cd805bc3"))  # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        pid = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
        return f"process {pid}" if pid > 0 else ""

    return in_child(work)


def type_into_terminal(bait: Bait) -> str:
    """Type commands into the terminal that the sandbox was started from (TIOCSTI)."""

    def work() -> str:
        _, terminal = pty.openpty()
        os.setsid()
        for request in (0x540E, 0x5412):  # TIOCSCTTY: make it this session's; TIOCSTI: type a letter
            letter = ctypes.create_string_buffer(b"x")
            checked(libc.ioctl(terminal, ctypes.c_ulong(request), letter), hex(request))
        return "typed"

    return in_child(work)


def write_to_terminal(bait: Bait) -> str:
    """Write to the person's terminal, e.g. sequences that it obeys."""
    terminal = os.open(bait["terminal"], os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(terminal, bait["canary"].encode())
    finally:
        os.close(terminal)
    return f"wrote to {bait['terminal']}"


def shared_memory(bait: Bait) -> str:
    """Read memory that programs of the person share (System V)."""
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(bait["shm_id"], None, 0o10000)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    return seen(bait["canary"], ctypes.string_at(address).decode(errors="replace"))


def shared_memory_by_key(bait: Bait) -> str:
    """The same by its well-known number."""
    return f"segment {checked(libc.shmget(bait['shm_key'], 0, 0), 'shmget')}"


def shared_memory_file(bait: Bait) -> str:
    """The same for the kind that lies in /dev/shm."""
    return seen(bait["canary"], text_of(bait["shm_path"]))


def message_queue(bait: Bait) -> str:
    """Take messages that are meant for others (System V)."""
    return f"queue {checked(libc.msgget(bait['shm_key'], 0), 'msgget')}"


def semaphore(bait: Bait) -> str:
    """Let programs of the person wait for ever (System V)."""
    return f"semaphore {checked(libc.semget(bait['shm_key'], 1, 0), 'semget')}"


def named_message_queue(bait: Bait) -> str:
    """The same for message queues with names (POSIX)."""
    os.close(checked(libc.mq_open(bait["queue_name"].encode(), os.O_RDWR), "mq_open"))
    return "opened"


def rare_calls(bait: Bait) -> str:
    """Drive the machine itself, or reach parts of the kernel that hardly anybody tests.

    Arguments are such that none of them does anything; only the filter refuses before it looks at them.
    """
    calls: dict[str, tuple[int, ...]] = {
        "init_module": (1, 0, 1), "finit_module": (-1, 1, 0), "delete_module": (1, 0), "kexec_load": (0, 99, 1, 0),
        "swapon": (1, 0), "swapoff": (1,), "reboot": (0, 0, 0, 0), "settimeofday": (1, 1), "clock_settime": (0, 1),
        "acct": (1,), "syslog": (10, 0, 0), "quotactl": (-1, 1, 0, 0), "fanotify_init": (-1, 0), "sethostname": (1, 1),
        "iopl": (9,), "modify_ldt": (9, 0, 0), "move_pages": (0, 0, 0, 0, 0, 0), "migrate_pages": (0, 0, 0, 0),
        "mount": (1, 1, 1, 0, 0), "pivot_root": (1, 1), "mount_setattr": (-1, 1, 0, 1, 0), "request_key": (1, 1, 1, 0),
    }  # fmt: skip
    answered = []
    for name, arguments in calls.items():
        if name not in NUMBERS:  # this kind of machine does not have it
            continue
        try:
            syscall(name, *arguments)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
                continue
        answered.append(name)
    return " ".join(answered)


def _cloned(name: str, *arguments: int | bytes) -> str:
    def work() -> str:
        child = syscall(name, *arguments)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return "cloned"

    # In a child of Python's own making: a second one, made behind Python's back, waits for ever for the threads that
    # the first had.
    return in_child(work)
