"""What is wrong with the journal's file, in one line for a person."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from ..errors import one_line

BUSY_SECONDS = 10.0
"""How long one process waits for another that is writing."""

REPAIR = "`cellwright runs repair` saves what can be read"

_ELSEWHERE = "set CELLWRIGHT_JOURNAL to a file elsewhere, or to `off` to keep runs in memory only"

_CAUSES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("SQLITE_FULL", "ENOSPC", "EDQUOT", "EFBIG"),
        "the disk is full",
        f"Free some space and go on (`cellwright runs prune` removes old runs), or {_ELSEWHERE}.",
    ),
    (
        ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE"),
        "the disk takes no more, because it is full, over a quota, or failing",
        f"Make room and go on, or {_ELSEWHERE}.",
    ),
    (
        ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", "OSError"),
        "its folder can't be written",
        f"Allow it, or {_ELSEWHERE}.",
    ),
    (
        ("SQLITE_BUSY", "SQLITE_LOCKED"),
        "another process keeps it locked",
        f"Try again, or {_ELSEWHERE}.",
    ),
    (
        ("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_IOERR_SHORT_READ", "damaged"),
        "the file is damaged or not a journal",
        f"{REPAIR}; or {_ELSEWHERE}.",
    ),
    (("SQLITE_CONSTRAINT",), "an event of that run and number is there already", "Start a new run."),
)


def explain(error: sqlite3.Error | OSError, where: str) -> str:
    """One line for a person: what failed, in which file, and what to do."""
    if isinstance(error, OSError):
        name = errno.errorcode.get(error.errno or 0, "")
        name = name if name in {"ENOSPC", "EDQUOT", "EFBIG"} else "OSError"
    else:
        name = "damaged" if is_damage(error) else getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_IOERR") and _is_full(where):
        name = "SQLITE_FULL"  # the shared-memory file of WAL says so in its own way
    for names, what, advice in _CAUSES:
        if name.startswith(names):
            return f"The journal {where} can't be used: {what} ({one_line(str(error), 120)}). {advice}"
    return f"The journal {where} can't be used: {one_line(str(error), 200)}. Check the disk, or {_ELSEWHERE}."


def is_damage(error: sqlite3.Error) -> bool:
    """True when the file's bytes are not what was written."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")):
        return True
    # Texts that are no UTF-8 (Python says so) or no JSON: we never write such ones.
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith(("Could not decode", "malformed JSON"))


def _is_full(where: str) -> bool:
    try:
        space = os.statvfs(Path(where).parent)
    except OSError:
        return False
    return bool(space.f_bavail * space.f_frsize < 128 * 1024)
