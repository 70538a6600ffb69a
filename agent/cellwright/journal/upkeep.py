"""Removing old runs, because a person asked for it: never by itself, and whole runs only.

What a newer run rests on stays: the run it branched from, the earlier runs of its conversation, the agents it called
and the one that called it. The triggers that keep the journal append-only are taken away and put back in the one
transaction that removes the runs, so no crash leaves the journal without them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..chain import blob_names
from .held import Holds
from .schema import GUARDED, guards, transaction, unguarded
from .search import fill


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed."""

    runs: int
    events: int
    bytes: int
    """By so much the file is smaller."""
    note: str = ""
    """One line on what could not be done; empty when all was."""


def prune(db: sqlite3.Connection, path: Path | None, holds: Holds, older_than: float) -> Pruned:
    """Remove the runs whose last event is older than this time (seconds since 1970-01-01 UTC) and their long texts."""
    size = _size(path)
    with transaction(db):
        old = removable(db, holds, older_than)
        if not old:
            return Pruned(0, 0, 0)
        for table in GUARDED:
            for statement in unguarded(table):
                db.execute(statement)
        db.execute("PRAGMA secure_delete = ON")  # removed is removed, should the file not shrink
        events = sum(db.execute("DELETE FROM events WHERE run_id = ?", (run_id,)).rowcount for run_id in old)
        db.executemany("DELETE FROM runs WHERE run_id = ?", [(run_id,) for run_id in old])
        _remove_orphans(db)
        fill(db)
        for table in GUARDED:
            for statement in guards(table):
                db.execute(statement)
    note = _shrink(db)
    return Pruned(len(old), events, max(0, size - _size(path)), note)


def removable(db: sqlite3.Connection, holds: Holds, older_than: float) -> list[str]:
    """The runs that are older, and that no newer one rests on."""
    query = """SELECT run_id, number, (SELECT max(time) FROM events e WHERE e.run_id = r.run_id) FROM runs r"""
    times = {run_id: (number, last or 0.0) for run_id, number, last in db.execute(query)}
    kept = {
        run_id
        for run_id, (number, last) in times.items()
        if last >= older_than or (holds.is_known and not holds.is_free(number) and _has_no_end(db, run_id))
    }
    rests_on = _rests_on(db)
    waiting = list(kept)
    while waiting:
        for other in rests_on.get(waiting.pop(), ()):
            if other in times and other not in kept:
                kept.add(other)
                waiting.append(other)
    return [run_id for run_id in times if run_id not in kept]


def _rests_on(db: sqlite3.Connection) -> Mapping[str, Iterable[str]]:
    found: dict[str, set[str]] = {}
    newest: dict[str, str] = {}
    query = """SELECT s.run_id, json_extract(s.body, '$.conversation'), json_extract(s.body, '$.parent'),
            json_extract(s.body, '$.caller')
        FROM runs r JOIN events s ON s.run_id = r.run_id AND s.kind = 'run_started'
        WHERE json_valid(s.body) ORDER BY r.number"""
    for run_id, conversation, parent, caller in db.execute(query):
        before = newest.get(conversation)
        found.setdefault(run_id, set()).update(other for other in (before, parent, caller) if other)
        newest[conversation] = run_id
        if caller:
            found.setdefault(caller, set()).add(run_id)
    return found


def _has_no_end(db: sqlite3.Connection, run_id: str) -> bool:
    query = "SELECT kind FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1"
    row = db.execute(query, (run_id,)).fetchone()
    return row is not None and row[0] != "run_ended"


def _remove_orphans(db: sqlite3.Connection) -> None:
    named: set[str] = set()
    for (body,) in db.execute("SELECT body FROM events WHERE instr(body, '$sha256') > 0"):
        try:
            named.update(blob_names(body))
        except ValueError:
            continue  # damaged: what it named can't be known, and can't be read either
    all_names = [name for (name,) in db.execute("SELECT sha256 FROM blobs")]
    db.executemany("DELETE FROM blobs WHERE sha256 = ?", [(name,) for name in all_names if name not in named])


def _shrink(db: sqlite3.Connection) -> str:
    """Give the space back. It needs as much again for a moment, which a full disk does not have."""
    try:
        db.execute("VACUUM")
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        return f"The runs are removed, but the file could not be made smaller now ({error}); new runs fill the space."
    return "The file gets smaller when no other process reads it." if busy else ""


def _size(path: Path | None) -> int:
    if path is None:
        return 0
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
