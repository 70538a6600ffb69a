"""Who is at work: a lock for each run that a process writes, and one for having the journal open.

The system lets go of a lock when the process that holds it ends, however it ends. So a run without an end is `running`
while it is locked, and `unfinished` when it is not. The locks are on bytes of an empty file beside the journal: byte 0
for "open", byte n for the run with number n. Where the system has no such locks (they are Linux's "open file
description" locks), or the file system does not keep them, a run without an end counts as running.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_FLOCK = "hhqqi0q"
"""struct flock: type, whence, start, length, process."""
_OPEN = 0


class Holds:
    """The locks of one open journal. Nothing here raises: a lock that can't be had is one that says nothing."""

    def __init__(self, path: Path | None) -> None:
        self.is_known = path is not None and hasattr(fcntl, "F_OFD_SETLK")
        """False: nobody can tell who is at work."""
        self._file = -1
        self._mine: set[int] = set()
        if path is not None and self.is_known:
            with contextlib.suppress(OSError):
                name = path.with_name(path.name + "-held")
                self._file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._set(fcntl.F_RDLCK, _OPEN)

    def take(self, number: int) -> bool:
        """Hold the run with that number; False when another process does."""
        if self._file >= 0 and not self._set(fcntl.F_WRLCK, number):
            return False
        self._mine.add(number)
        return True

    def release(self, number: int) -> None:
        """Hold it no longer."""
        self._mine.discard(number)
        if self._file >= 0:
            self._set(fcntl.F_UNLCK, number)

    def is_free(self, number: int) -> bool:
        """True when for certain nobody holds the run with that number."""
        if number in self._mine or self._file < 0:
            return False
        return self._asked(fcntl.F_WRLCK, number) == fcntl.F_UNLCK and self.is_known

    def take_all(self) -> bool:
        """Hold the whole journal; False while anybody else has it open."""
        return self._set(fcntl.F_WRLCK, _OPEN) if self._file >= 0 else True

    def close(self) -> None:
        """Let go of everything."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _set(self, kind: int, number: int) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, number, 1, 0))
        except BlockingIOError:
            return False
        except OSError:
            self.is_known = False  # e.g. a network file system without locks
        return True

    def _asked(self, kind: int, number: int) -> int:
        wanted = struct.pack(_FLOCK, kind, os.SEEK_SET, number, 1, 0)
        try:
            answer = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, wanted)
        except OSError:
            self.is_known = False
            return fcntl.F_UNLCK
        found: int = struct.unpack(_FLOCK, answer)[0]
        return found
