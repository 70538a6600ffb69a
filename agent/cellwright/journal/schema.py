"""The form of the journal's file, and how older forms become the newest when a file is opened.

`events` holds all there is to know. A long text in an event stands in `blobs`, once for all runs. `runs` gives each run
a number (for the index of words, and for the lock that says somebody is at work on it) and the link that its chain
begins with. Triggers refuse to change or delete a row of the three. `words` is an index for the search: it holds no
text and can be made again from the events.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..chain import GENESIS, link, stored
from ..errors import JournalError
from ..wire import from_json
from .failures import BUSY_SECONDS
from .search import fill

APPLICATION_ID = 0x43656C6C
"""Marks the file as ours ("Cell"), so that another program's database is never written to."""

GUARDED = ("events", "runs", "blobs")
"""The tables that only grow."""


def guards(table: str) -> tuple[str, str]:
    """The triggers that keep a table append-only."""
    refused = "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    return (
        f"CREATE TRIGGER {table}_are_never_changed BEFORE UPDATE ON {table} {refused}",
        f"CREATE TRIGGER {table}_are_never_deleted BEFORE DELETE ON {table} {refused}",
    )


def unguarded(table: str) -> tuple[str, str]:
    """What takes the triggers away; in one transaction with what puts them back."""
    return f"DROP TRIGGER {table}_are_never_changed", f"DROP TRIGGER {table}_are_never_deleted"


def _with_links(db: sqlite3.Connection) -> None:
    """Copy the events of form 1 into form 2: long texts beside them, and a chain over each run."""
    last: dict[str, str] = {}
    started = db.execute(
        """SELECT run_id, json_extract(body, '$.conversation'), min(seq), time FROM plain_events
            GROUP BY run_id ORDER BY time"""
    ).fetchall()
    for number, (run_id, conversation, _, _) in enumerate(started, 1):
        before = last.get(conversation, GENESIS)
        db.execute("INSERT INTO runs VALUES (?, ?, ?)", (number, run_id, before))
        rows = db.execute("SELECT seq, kind, time, body FROM plain_events WHERE run_id = ? ORDER BY seq", (run_id,))
        for seq, kind, time, body in rows:
            try:
                kept = stored(from_json(body))
            except ValueError as error:
                raise JournalError(
                    f"Event {seq} of run {run_id} is damaged, so the journal can't be brought to its new form. "
                    "`cellwright runs repair` saves what can be read."
                ) from error
            before = link(before, kept.body)
            db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (run_id, seq, kind, time, before, kept.body))
            db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", kept.blobs.items())
        last[conversation] = before


Migration = tuple[str | Callable[[sqlite3.Connection], None], ...]

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE events (
            run_id TEXT NOT NULL,
            seq INTEGER NOT NULL CHECK (seq >= 0),
            kind TEXT NOT NULL,
            time REAL NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (run_id, seq)
        ) STRICT""",
        "CREATE INDEX runs_by_time ON events (time) WHERE kind = 'run_started'",
        """CREATE INDEX runs_by_conversation ON events (json_extract(body, '$.conversation'))
            WHERE kind = 'run_started'""",
        *guards("events"),
    ),
    (
        *unguarded("events"),
        "DROP INDEX runs_by_time",
        "DROP INDEX runs_by_conversation",
        "ALTER TABLE events RENAME TO plain_events",
        """CREATE TABLE runs (
            number INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL UNIQUE,
            before TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE events (
            run_id TEXT NOT NULL,
            seq INTEGER NOT NULL CHECK (seq >= 0),
            kind TEXT NOT NULL,
            time REAL NOT NULL,
            link TEXT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (run_id, seq)
        ) STRICT""",
        "CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT",
        """CREATE VIRTUAL TABLE words USING fts5 (
            task, thought, code, answer, error, content = '', tokenize = 'unicode61 remove_diacritics 2')""",
        _with_links,
        "DROP TABLE plain_events",
        "CREATE INDEX runs_by_time ON events (time) WHERE kind = 'run_started'",
        """CREATE INDEX runs_by_conversation ON events (json_extract(body, '$.conversation'))
            WHERE kind = 'run_started'""",
        """CREATE INDEX runs_by_caller ON events (json_extract(body, '$.caller'))
            WHERE kind = 'run_started'""",
        "CREATE INDEX ends ON events (run_id) WHERE kind = 'run_ended'",
        *(trigger for table in GUARDED for trigger in guards(table)),
        fill,
    ),
)
"""Steps that lead from version n to n + 1. `PRAGMA user_version` says how many have been done. A released entry is
never changed; what comes later is appended."""


def default_path() -> Path | None:
    """Where the journal is: `CELLWRIGHT_JOURNAL`, else the Jupyter data directory. None (`off`): memory only."""
    chosen = os.environ.get("CELLWRIGHT_JOURNAL", "").strip()
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser()
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "cellwright" / "journal.sqlite"


def open_file(path: Path | None, wait_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """The database, in its newest form; None keeps it in memory. Raises `JournalError`, `sqlite3.Error`, `OSError`."""
    if path and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # it holds the person's data and what models said about them
    db = sqlite3.connect(path or ":memory:", timeout=wait_seconds, isolation_level=None)
    try:
        _migrate(db, path)
    except BaseException:  # whatever it is, the file must not stay open; it is raised again
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _migrate(db: sqlite3.Connection, path: Path | None) -> None:
    db.execute("PRAGMA synchronous = FULL")  # with WAL: one fsync for each commit; NORMAL would lose commits
    if _version(db, path) < len(MIGRATIONS):
        db.execute("PRAGMA secure_delete = ON")  # of the old form nothing stays that a repair could take for a run
        with transaction(db):
            # Read again: another process may have been faster, and two may open a new file at once.
            for steps in MIGRATIONS[_version(db, path) :]:
                for step in steps:
                    step(db) if callable(step) else db.execute(step)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("PRAGMA journal_mode = WAL")


def _version(db: sqlite3.Connection, path: Path | None) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    owner: int = db.execute("PRAGMA application_id").fetchone()[0]
    is_new = not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    if owner != APPLICATION_ID and not is_new:
        raise JournalError(f"{path} is the database of another program. Set CELLWRIGHT_JOURNAL to another file.")
    if version > len(MIGRATIONS):
        raise JournalError(
            f"The journal {path} was written by a newer Cellwright (version {version} of its form, this one knows "
            f"{len(MIGRATIONS)}). Update Cellwright, or set CELLWRIGHT_JOURNAL to another file."
        )
    return version
