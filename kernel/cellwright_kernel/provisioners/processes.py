"""The sandbox's processes as the host's `/proc` shows them: who they are, what memory they use.

Read with plain descriptors, because a watchdog does it ten times a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

PAGE = os.sysconf("SC_PAGE_SIZE")
KIB = 1024


def read(path: str) -> bytes:
    """A small file of `/proc`; empty when it is gone or not ours to see."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def threads(pid: int) -> list[str]:
    """Thread ids of a process; empty when it is gone."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """Children of a process's first thread, in the order in which they were born."""
    return [int(child) for child in read(f"/proc/{pid}/task/{pid}/children").split()]


def last_descendant(pid: int) -> int:
    """The end of a chain of only children: the kernel, as long as it has not run anything."""
    while born := children(pid):
        pid = born[0]
    return pid


def tree(root: int) -> dict[int, int]:
    """A process and all that descend from it -> how many threads each has."""
    found: dict[int, int] = {}
    ahead = [root]
    while ahead:
        pid = ahead.pop()
        tasks = threads(pid)
        if not tasks or pid in found:
            continue
        found[pid] = len(tasks)
        for task in tasks:
            ahead += [int(child) for child in read(f"/proc/{pid}/task/{task}/children").split()]
    return found


def resident(pids: Iterable[int]) -> int:
    """Bytes in memory, counting what processes share once for each: too much, but cheap to know."""
    return sum(int(fields[1]) for pid in pids if len(fields := read(f"/proc/{pid}/statm").split()) > 1) * PAGE


def private(pids: Iterable[int]) -> int:
    """Bytes in memory without files, counting what forked processes share once for each."""
    return sum(_kib(read(f"/proc/{pid}/status"), (b"RssAnon:", b"RssShmem:", b"VmSwap:")) for pid in pids) * KIB


def proportional(pids: Iterable[int]) -> int:
    """Bytes in memory without files, each page counted once; slow where there are gigabytes."""
    total = 0
    for pid in pids:
        rollup = read(f"/proc/{pid}/smaps_rollup")
        # A process may hide this from us; then what it shares is counted in full.
        total += _kib(rollup, (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:")) * KIB if rollup else private([pid])
    return total


def _kib(text: bytes, names: tuple[bytes, ...]) -> int:
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(names))


def deleted_files(pids: Iterable[int], device: int) -> int:
    """Bytes on a device of files without a name that are still open or mapped: no walk through folders finds them."""
    found: dict[int, int] = {}
    for pid in pids:
        for name in _names(f"/proc/{pid}/fd"):
            try:
                status = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if status.st_nlink == 0 and status.st_dev == device:
                found[status.st_ino] = status.st_blocks * 512
        for line in _lines(f"/proc/{pid}/maps"):
            if line.endswith(b"(deleted)\n"):
                span, _, _, where, inode = line.split(maxsplit=5)[:5]
                if _device(where) == device:
                    first, last = (int(end, 16) for end in span.split(b"-"))
                    found.setdefault(int(inode), last - first)
    return sum(found.values())


def _device(text: bytes) -> int:
    major, minor = text.split(b":")
    return os.makedev(int(major, 16), int(minor, 16))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _lines(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return file.readlines()
    except OSError:
        return []
