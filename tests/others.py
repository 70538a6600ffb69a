"""`python tests/others.py UID PROGRAM ...`: run a program as another user (0: root) who can reach our Python.

Needs root. Python environments often lie in root's home, which is closed to others; in a mount namespace of our own it
is replaced by an empty, open folder in which only Python's own is to be seen. Nothing changes for anybody else.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
EVERYBODY_PASSES = 0o001

_libc = ctypes.CDLL(None, use_errno=True)


def command(uid: int, program: list[str]) -> list[str]:
    """The command line that runs `program` as `uid`; 0: as root."""
    return [sys.executable, __file__, str(uid), *program]


def main() -> None:
    """Open the way to Python, become the user, run the program."""
    uid = int(sys.argv[1])
    check("unshare", _libc.unshare(CLONE_NEWNS))
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    for place in {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent.parent}:
        open_the_way(place)
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.execv(sys.argv[2], sys.argv[2:])


def open_the_way(place: Path) -> None:
    """Lay an open folder over the first one on the way that is closed, with only `place` in it."""
    for folder in reversed(place.parents):
        if not folder.stat().st_mode & EVERYBODY_PASSES:
            held = os.open(place, os.O_PATH)
            mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")
            place.mkdir(parents=True)
            mount(f"/proc/self/fd/{held}", str(place), "", MS_BIND | MS_REC)
            os.close(held)
            return


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)"""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    check(f"mount {target}", result)


def check(what: str, result: int) -> None:
    """Raises `OSError` with what failed."""
    if result:
        raise OSError(ctypes.get_errno(), what)


if __name__ == "__main__":
    main()
