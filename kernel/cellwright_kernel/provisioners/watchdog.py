"""Looks from outside at what limits inside can't hold: all processes' memory together, how many, the workspace's size.

A process limits itself (RLIMIT_DATA), but sixty of them may each keep to it, and shared memory counts for none. So the
host looks: cheap sums ten times a second, exact ones only when a cheap one is over the limit. How often depends on what
a look costs: at most `SHARE` of one core, except while the sandbox grows fast. There is no cgroup: making one needs
root or a delegated one, which most notebooks don't have; memory that only the system counts (socket buffers) is not
seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from cellwright.sandbox.isolation import GIB, MIB, Isolation

from . import processes
from .folders import CantMeasure, size_of

SHARE = 0.004
"""Part of one core that looking may cost."""
OFTEN_SECONDS, SELDOM_SECONDS = 0.1, 1.0
"""Shortest and longest time between two looks at memory and processes."""
FOLDER_SECONDS = 1.0
"""Shortest time between two walks through the workspace."""
GROWS_FAST = 0.05
"""Part of the limit by which the memory grew since the last look."""
INODE_BYTES = 1024
"""What a name in a memory file system costs besides its contents."""


class Watchdog:
    """Watches one sandbox; calls `end` once, with one line on why.

    root: the process that all others descend from. kernel: the kernel's own process, host's numbers both.
    folders: what may grow on disk, name -> (folder, bytes allowed). in_memory: the sandbox has its own `/tmp`.
    """

    def __init__(
        self,
        settings: Isolation,
        *,
        root: int,
        kernel: int,
        folders: dict[str, tuple[Path, int | None]],
        in_memory: bool,
        end: Callable[[str], Awaitable[None]],
    ) -> None:
        self.settings = settings
        self.spent = 0.0
        """Seconds of processor time that looking has cost."""
        self._root = root
        self._kernel = kernel
        self._folders = {name: (folder, most) for name, (folder, most) in folders.items() if most is not None}
        self._in_memory = in_memory
        self._end = end
        self._pids: dict[int, int] = {}
        self._newest = b""
        self._used = 0
        self._growth = 0
        self._free_at_first: dict[str, int] = {}
        self._walk_at = dict.fromkeys(self._folders, 0.0)
        self._over_at_first: dict[str, int | None] = {}
        """Folders that were over their limit when the sandbox started -> bytes then; None where that can't be known."""

    async def run(self) -> None:
        """Look until the sandbox is over a limit or this task is cancelled."""
        with self._memory_file_systems() as mounts:
            await self._look_at_first()
            while True:
                began = time.thread_time()
                why = self._look(mounts)
                cost = time.thread_time() - began
                self.spent += cost
                if not why and self._folders:
                    why = await self._walk()
                if why:
                    await self._end(why)
                    return
                await asyncio.sleep(min(SELDOM_SECONDS, max(OFTEN_SECONDS, self._pause(cost))))

    async def _look_at_first(self) -> None:
        """A folder that is full already must not end the sandbox: code is needed to make room in it."""
        for name, (folder, most) in self._folders.items():
            used, cost = await asyncio.to_thread(self._measure, folder, False)
            self.spent += cost
            if isinstance(used, str):
                self._over_at_first[name] = None
            elif used > most:
                self._over_at_first[name] = used

    @contextlib.contextmanager
    def _memory_file_systems(self) -> Iterator[list[int]]:
        """The sandbox's own `/tmp` and `/dev/shm`, held open: looking at a descriptor costs next to nothing."""
        mounts: list[int] = []
        try:
            for folder in ("tmp", "dev/shm") if self._in_memory else ():
                with contextlib.suppress(OSError):
                    path = f"/proc/{self._kernel}/root/{folder}"
                    mounts.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
            yield mounts
        finally:
            for mount in mounts:
                os.close(mount)

    def _look(self, mounts: list[int]) -> str:
        """Memory and number of processes; why the sandbox must end, or an empty string."""
        # Its last field is the number of the newest process (in the sandbox's own namespace): unchanged, nobody is new.
        newest = processes.read(f"/proc/{self._kernel}/root/proc/loadavg" if self._in_memory else "/proc/loadavg")
        newest = newest.rsplit(b" ", 1)[-1]
        if newest != self._newest or not newest:
            self._pids = processes.tree(self._root)
            self._newest = newest
        most = self.settings.processes
        if most is not None and (count := sum(self._pids.values())) > most + ITS_OWN:
            return f"it ran {count} processes and threads, {most} are allowed"
        before, self._used = self._used, self._memory(mounts)
        self._growth = self._used - before
        limit = self.settings.memory
        if limit is not None and self._used > limit:
            return f"it used {size(self._used)} of memory, {size(limit)} are allowed"
        return ""

    def _memory(self, mounts: list[int]) -> int:
        """Bytes in use. Each way to count is dearer and more exact than the one before it."""
        files = sum(in_file_system(mount) for mount in mounts)
        limit = self.settings.memory
        used = 0
        for count in (processes.resident, processes.private, processes.proportional):
            used = count(self._pids) + files
            if limit is None or used <= limit:
                break
        return used

    def _pause(self, cost: float) -> float:
        if self.settings.memory is not None and self._growth > GROWS_FAST * self.settings.memory:
            return OFTEN_SECONDS
        return cost / SHARE

    async def _walk(self) -> str:
        """Sizes of folders on disk, each when it is due, or as soon as the disk fills."""
        for name, (folder, most) in self._folders.items():
            disk = os.statvfs(folder)
            free = disk.f_bavail * disk.f_frsize
            taken = self._free_at_first.setdefault(name, free) - free
            if time.monotonic() < self._walk_at[name] and taken < most:
                continue
            used, cost = await asyncio.to_thread(self._measure, folder, taken > most // 2)
            self.spent += cost
            self._walk_at[name] = time.monotonic() + max(FOLDER_SECONDS, cost / SHARE)
            if name in self._over_at_first:
                most = self._allowed_over(name, used, most)  # noqa: PLW2901 - what holds for this folder now
                if taken > MORE_BYTES:
                    return f"its {name} was full already and grew by {size(taken)}"
            elif isinstance(used, str):
                return f"its {name} can't be measured: it has {used}"
            if not isinstance(used, str) and used > most:
                return f"its {name} holds {size(used)}, {size(most)} are allowed"
            if taken > most:
                self._free_at_first[name] = free  # somebody else filled the disk
        return ""

    def _allowed_over(self, name: str, used: int | str, most: int) -> int:
        """Bytes that a folder may hold that was full at first: a little more than then, until there is room again."""
        if isinstance(used, str):
            return most
        if used <= most:
            del self._over_at_first[name]
            return most
        first = self._over_at_first[name]
        if first is None:
            first = self._over_at_first[name] = used
        return first + MORE_BYTES

    def _measure(self, folder: Path, suspicious: bool) -> tuple[int | str, float]:
        """In a thread: bytes of a folder, or why it can't be known; and what finding out has cost."""
        began = time.thread_time()
        used: int | str
        try:
            used = size_of(folder)
            if suspicious:
                used += processes.deleted_files(list(self._pids), folder.stat().st_dev)
        except CantMeasure as problem:
            used = str(problem)
        except OSError as problem:
            used = f"a problem ({problem.strerror})"
        return used, time.thread_time() - began


MORE_BYTES = 16 * MIB
"""So much may a folder grow that was full when the sandbox started."""
ITS_OWN = 3
"""Processes around the kernel that are ours: bubblewrap or the launcher, and process 1."""


def in_file_system(mount: int) -> int:
    """Bytes that a memory file system uses."""
    status = os.fstatvfs(mount)
    return (status.f_blocks - status.f_bfree) * status.f_frsize + (status.f_files - status.f_ffree) * INODE_BYTES


def size(count: int) -> str:
    """Bytes in words, e.g. `2.1 GiB`; never so rounded that a limit seems kept that is not."""
    unit, name = (GIB, "GiB") if count >= GIB else (MIB, "MiB")
    exact = count / unit
    return f"{exact:.0f} {name}" if exact == int(exact) else f"{max(exact, int(exact) + 0.1):.1f} {name}"
