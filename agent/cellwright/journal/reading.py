"""Reading one run: its events, or its record with the chain, up to the last whole event.

A run is not proved whenever it is read, so that reading stays cheap; but what can't be read at all is not passed over:
the run then ends at the last whole event, and a note says so. `record` and `check` do compute the chain.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..chain import GENESIS, blob_names, digest, link, restored
from ..errors import JournalError, UnknownRun, one_line
from ..events import Event
from ..record import Line, Record, fault
from ..run import Run
from .failures import REPAIR, is_damage


@dataclass(frozen=True, slots=True)
class Found:
    """The lines of a run that could be read."""

    before: str
    lines: Sequence[Line]
    note: str = ""


def full_id(db: sqlite3.Connection, prefix: str) -> str:
    """The run id that begins so. Raises `UnknownRun`, and `JournalError` where there are several."""
    query = "SELECT run_id FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id LIMIT 5"
    found = [run_id for (run_id,) in db.execute(query, (prefix, prefix + "\U0010ffff"))]
    if prefix in found:
        return prefix
    if not found or not prefix:
        newest = "SELECT run_id FROM runs ORDER BY number DESC LIMIT 1000"
        raise UnknownRun(prefix, [run_id for (run_id,) in db.execute(newest)])
    if len(found) > 1:
        raise JournalError(f"Several runs begin with {prefix!r} ({', '.join(found)}): write more of the id.")
    return str(found[0])


def read_run(db: sqlite3.Connection, run_id: str) -> tuple[Run, str]:
    """The run, and a note where the end of it can't be read. Raises `JournalError` where nothing of it can."""
    found = _lines(db, run_id)
    events: list[Event] = []
    before = found.before
    for line in found.lines:
        try:
            events.append(restored(line.body, lambda name: blob(db, name)))
        except ValueError as error:
            if link(before, line.body) == line.link and not _broken_blobs(db, line.body):
                raise _from_a_newer_version(error) from error
            found = replace(found, note=_note(run_id, len(events)))
            break
        before = line.link
    if not events:
        raise JournalError(f"Run {run_id} is damaged from its first event on. {REPAIR}.")
    return Run(events), found.note


def read_record(db: sqlite3.Connection, run_id: str) -> Record:
    """The run with its chain, up to the last event that fits. Raises `JournalError` where none does."""
    found = _lines(db, run_id)
    events: list[Event] = []
    lines: list[Line] = []
    blobs: dict[str, str] = {}
    before, note = found.before, found.note
    for line in found.lines:
        if link(before, line.body) != line.link or _broken_blobs(db, line.body):
            note = _note(run_id, len(events))
            break
        blobs |= {name: blob(db, name) for name in blob_names(line.body)}
        try:
            events.append(restored(line.body, blobs.__getitem__))
        except ValueError as error:
            raise _from_a_newer_version(error) from error
        lines.append(line)
        before = line.link
    if not events:
        raise JournalError(f"Run {run_id} is damaged from its first event on. {REPAIR}.")
    return Record(Run(events), found.before, tuple(lines), blobs, note)


def check_run(db: sqlite3.Connection, run_id: str) -> str | None:
    """The first thing of the run, or of what it follows, that is not as it was written; None when all fits."""
    wrong = damage(db, run_id)
    if wrong is None and not _is_known(db, _lines(db, run_id)):
        return f"Run {run_id}: it follows a run of the conversation that is no longer there."
    return wrong


def damage(db: sqlite3.Connection, run_id: str) -> str | None:
    """The first thing of the run itself that is not as it was written, in one line; None when all fits."""
    found = _lines(db, run_id)
    blobs = {}
    for name in (name for line in found.lines for name in _names(line.body)):
        try:
            blobs[name] = blob(db, name)
        except ValueError:
            continue
    if wrong := fault(Record(Run(), found.before, found.lines, blobs)):
        return f"Run {run_id}: {wrong}."
    if found.note:
        return found.note
    for number, (seq, kind, time, body) in enumerate(
        db.execute("SELECT seq, kind, time, body FROM events WHERE run_id = ? ORDER BY seq", (run_id,))
    ):
        event = json.loads(body)
        if (event.get("seq"), event.get("kind"), event.get("time")) != (seq, kind, time):
            return f"Run {run_id}: number, kind or time of event {number} was changed."
    return None


def event(db: sqlite3.Connection, run_id: str, seq: int) -> Event | None:
    """One event; None where it can't be read."""
    row = db.execute("SELECT body FROM events WHERE run_id = ? AND seq = ?", (run_id, seq)).fetchone()
    try:
        return restored(row[0], lambda name: blob(db, name)) if row else None
    except ValueError:
        return None


def _lines(db: sqlite3.Connection, run_id: str) -> Found:
    begun = db.execute("SELECT before FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    before = begun[0] if begun else GENESIS
    lines: list[Line] = []
    try:
        for pair in db.execute("SELECT link, body FROM events WHERE run_id = ? ORDER BY seq", (run_id,)):
            lines.append(Line(*pair))
    except sqlite3.DatabaseError as error:
        if not lines or not is_damage(error):
            raise
        return Found(before, lines, _note(run_id, len(lines)))
    return Found(before, lines)


def _note(run_id: str, count: int) -> str:
    return f"The journal is damaged: run {run_id} can be read up to its event {count}, the last whole one. {REPAIR}."


def blob(db: sqlite3.Connection, name: str) -> str:
    try:
        row = db.execute("SELECT text FROM blobs WHERE sha256 = ?", (name,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        row = None
    if row is None:
        raise ValueError(f"the long text {name} is missing")
    text: str = row[0]
    return text


def _names(body: str) -> list[str]:
    try:
        return blob_names(body)
    except ValueError:  # no JSON
        return []


def _broken_blobs(db: sqlite3.Connection, body: str) -> bool:
    try:
        return any(digest(blob(db, name)) != name for name in _names(body))
    except ValueError:
        return True


def _is_known(db: sqlite3.Connection, found: Found) -> bool:
    """Whether the link that the run takes up belongs to another run of its conversation."""
    if found.before == GENESIS or not found.lines:
        return True
    conversation = json.loads(found.lines[0].body).get("conversation")
    query = """SELECT 1 FROM events WHERE link = ? AND run_id IN (
        SELECT run_id FROM events WHERE kind = 'run_started' AND json_extract(body, '$.conversation') = ?)"""
    return db.execute(query, (found.before, conversation)).fetchone() is not None


def _from_a_newer_version(error: ValueError) -> JournalError:
    return JournalError(
        f"The journal holds an event that this version of Cellwright can't read ({one_line(str(error), 120)}). "
        "Update Cellwright, or set CELLWRIGHT_JOURNAL to another file."
    )
