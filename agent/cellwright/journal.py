"""The durable event store: one SQLite file that only ever grows, shared by every kernel of a person.

An event on which the next step depends is on the disk, fsync included, when `append` returns; so whatever is killed,
no finished step is lost. Events that nothing depends on yet (outputs, proposals) wait in memory and are written in the
same transaction as the next one that counts. There is one table, and triggers refuse to change or delete what is in
it. The list of runs, their status and their totals are read from the events; there is no second copy that could differ.

All SQLite work happens on one thread of the journal's own, so that a slow disk never stops the event loop, and the
order in which `append` is called is the order in which events are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

from .errors import JournalError, UnknownRun, one_line
from .events import ActionProposed, Event, Output, RunEnded, RunStarted, Status
from .run import Run
from .wire import from_json, to_json

T = TypeVar("T")
Row = tuple[str, int, str, float, str]

BUSY_SECONDS = 10.0
"""How long one process waits for another that is writing."""

APPLICATION_ID = 0x43656C6C
"""Marks the file as ours ("Cell"), so that another program's database is never written to."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
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
        """CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
            BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
        """CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
            BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    ),
)
"""Statements that lead from version n to n + 1. `PRAGMA user_version` says how many have been applied. A released
entry is never changed; what comes later is appended."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the list of runs."""

    id: str
    conversation: str
    author: Literal["agent", "person"]
    task: str
    status: Status
    """`running` also for a run whose process was killed: the journal holds no end of it."""
    model: str
    started: float
    """Seconds since 1970-01-01 UTC."""
    steps: int
    seconds: float
    tokens: int
    cost: float
    """US dollars, of the replies whose price is known."""
    cost_known: bool


def default_path() -> Path | None:
    """Where the journal is: `CELLWRIGHT_JOURNAL`, else the Jupyter data directory. None (`off`): memory only."""
    chosen = os.environ.get("CELLWRIGHT_JOURNAL", "").strip()
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser()
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "cellwright" / "journal.sqlite"


class Journal:
    """The events of all runs, in one file; `path` None keeps them in memory only. Every method raises `JournalError`.

    async with Journal(default_path()) as journal:
        await journal.append(run_id, event)
        print(await journal.runs(limit=10))
    """

    def __init__(self, path: Path | str | None) -> None:
        self.path = None if path is None else Path(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cellwright-journal")
        # Both belong to the thread: no other code touches them, so there is nothing to lock.
        self._database: sqlite3.Connection | None = None
        self._waiting: dict[str, list[Row]] = {}

    async def __aenter__(self) -> Journal:
        await self._on_thread(self._db)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        # An error of the body is the one to see; that what waits can't be written either would only hide it.
        with contextlib.suppress(*(() if error is None else (JournalError,))):
            await self.aclose()

    async def aclose(self) -> None:
        """Write what waits and close the file. May be called again."""
        try:
            await self._on_thread(self._close)
        except _Closed:
            return
        finally:
            self._thread.shutdown(wait=False)

    async def append(self, run_id: str, event: Event) -> None:
        """Store `event`; when this returns and the next step may depend on the event, it is on the disk.

        Cancelling the call does not take the event back. After an error the event waits, and is written with the
        next one, so that a full disk leaves no hole in the run.
        """
        if event.is_live:
            return
        kind = str(getattr(event, "kind", ""))
        row: Row = (run_id, event.seq, kind, event.time, to_json(event))
        if isinstance(event, (Output, ActionProposed)):
            self._submit(lambda: self._waiting.setdefault(run_id, []).append(row))
        else:
            await self._on_thread(lambda: self._write(run_id, row))

    async def run(self, run_id: str) -> Run:
        """The run of that id, or of the one id that begins so. Raises `UnknownRun`."""
        return await self._on_thread(lambda: self._read(self._full_id(run_id)))

    async def latest(self) -> Run:
        """The run that was started last. Raises `JournalError` when there is none."""

        def read() -> Run:
            row = self._db().execute(_RUNS.format("run_id"), (1,)).fetchone()
            if row is None:
                raise JournalError(f"There are no runs in {self._where} yet.")
            return self._read(row[0])

        return await self._on_thread(read)

    async def runs(self, limit: int = 50) -> Sequence[RunSummary]:
        """The runs that were started last, newest first."""

        def read() -> list[RunSummary]:
            found = self._db().execute(_RUNS.format("body"), (limit,)).fetchall()
            return [self._summary(started) for (body,) in found if isinstance(started := self._event(body), RunStarted)]

        return await self._on_thread(read)

    async def conversation(self, conversation_id: str) -> list[Run]:
        """The runs of one conversation, in the order in which they were started; empty for an unknown one."""
        query = """SELECT run_id FROM events
            WHERE kind = 'run_started' AND json_extract(body, '$.conversation') = ? ORDER BY time, rowid"""

        def read() -> list[Run]:
            found = self._db().execute(query, (conversation_id,)).fetchall()
            return [self._read(run_id) for (run_id,) in found]

        return await self._on_thread(read)

    # ---- to the thread and back -------------------------------------------------------------------------------------

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        try:
            return self._thread.submit(self._explained, work)
        except RuntimeError as error:
            raise _Closed(f"The journal {self._where} is closed.") from error

    async def _on_thread(self, work: Callable[[], T]) -> T:
        future = asyncio.wrap_future(self._submit(work))
        # Without the shield, cancelling the caller would also cancel work that is still in the queue: a lost event.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(future)

    def _explained(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(explain(error, self._where)) from error

    @property
    def _where(self) -> str:
        return str(self.path) if self.path else "in memory"

    # ---- on the thread ----------------------------------------------------------------------------------------------

    def _db(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _open(self.path)
        return self._database

    def _write(self, run_id: str, *rows: Row) -> None:
        waiting = self._waiting.setdefault(run_id, [])
        waiting.extend(rows)
        db = self._db()
        try:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO events (run_id, seq, kind, time, body) VALUES (?, ?, ?, ?, ?)", waiting)
            db.execute("COMMIT")
        except sqlite3.IntegrityError:
            # It would fail for ever, and with it every later event of the run.
            del self._waiting[run_id]
            raise
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        del self._waiting[run_id]

    def _close(self) -> None:
        try:
            for run_id in list(self._waiting):
                self._write(run_id)
        finally:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _full_id(self, prefix: str) -> str:
        query = "SELECT DISTINCT run_id FROM events WHERE run_id >= ? AND run_id < ? LIMIT 5"
        found = [run_id for (run_id,) in self._db().execute(query, (prefix, prefix + "\U0010ffff"))]
        if prefix in found:
            return prefix
        if not found or not prefix:
            raise UnknownRun(prefix, [run_id for (run_id,) in self._db().execute(_RUNS.format("run_id"), (1000,))])
        if len(found) > 1:
            raise JournalError(f"Several runs begin with {prefix!r} ({', '.join(found)}): write more of the id.")
        return str(found[0])

    def _read(self, run_id: str) -> Run:
        rows = self._db().execute("SELECT body FROM events WHERE run_id = ? ORDER BY seq", (run_id,))
        return Run(self._event(body) for (body,) in rows)

    def _summary(self, started: RunStarted) -> RunSummary:
        db, run_id = self._db(), started.run_id
        query = "SELECT body FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1"
        last = self._event(db.execute(query, (run_id,)).fetchone()[0])
        run = Run([started, last])
        if not isinstance(last, RunEnded):
            # Totals of an unfinished run are the sum of its replies; its outputs, which may be large, are not read.
            query = "SELECT body FROM events WHERE run_id = ? AND kind = 'reply_received' AND seq < ? ORDER BY seq"
            replies = [self._event(body) for (body,) in db.execute(query, (run_id, last.seq))]
            run = Run([started, *replies, last])
        totals = run.totals
        return RunSummary(
            id=run_id,
            conversation=started.conversation,
            author=started.author,
            task=started.task,
            status=run.status,
            model=started.model,
            started=started.time,
            steps=totals.steps,
            seconds=totals.seconds,
            tokens=totals.usage.total,
            cost=totals.cost,
            cost_known=totals.cost_known,
        )

    def _event(self, body: str) -> Event:
        try:
            return from_json(body)
        except ValueError as error:
            raise JournalError(
                f"The journal {self._where} holds an event that this version of Cellwright can't read "
                f"({one_line(str(error), 120)}). Update Cellwright, or set CELLWRIGHT_JOURNAL to another file."
            ) from error


_RUNS = "SELECT {} FROM events WHERE kind = 'run_started' ORDER BY time DESC, rowid DESC LIMIT ?"


class _Closed(JournalError):
    """The journal was used after `aclose`."""


# ---- opening --------------------------------------------------------------------------------------------------------


def _open(path: Path | None) -> sqlite3.Connection:
    if path and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # it holds the person's data and what models said about them
    db = sqlite3.connect(path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _migrate(db, path)
    except BaseException:  # whatever it is, the file must not stay open; it is raised again
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, path: Path | None) -> None:
    db.execute("PRAGMA synchronous = FULL")  # with WAL: one fsync for each commit; NORMAL would lose commits
    if _version(db, path) < len(MIGRATIONS):
        db.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have been faster, and two may open a new file at once.
            for statements in MIGRATIONS[_version(db, path) :]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
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


# ---- what went wrong, in one line -----------------------------------------------------------------------------------

_ELSEWHERE = "set CELLWRIGHT_JOURNAL to a file elsewhere, or to `off` to keep runs in memory only"

_CAUSES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("SQLITE_FULL", "ENOSPC", "EDQUOT"), "the disk is full", f"Free some space and go on, or {_ELSEWHERE}."),
    (
        ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", "OSError"),
        "its folder can't be written",
        f"Allow it, or {_ELSEWHERE}.",
    ),
    (
        ("SQLITE_BUSY", "SQLITE_LOCKED"),
        f"another process has kept it locked for {BUSY_SECONDS:g} s",
        f"Try again, or {_ELSEWHERE}.",
    ),
    (
        ("SQLITE_NOTADB", "SQLITE_CORRUPT"),
        "the file is damaged or not a journal",
        f"Move it away, or {_ELSEWHERE}.",
    ),
    (("SQLITE_CONSTRAINT",), "an event of that run and number is there already", "Start a new run."),
)


def explain(error: sqlite3.Error | OSError, where: str) -> str:
    """One line for a person: what failed, in which file, and what to do."""
    if isinstance(error, OSError):
        name = errno.errorcode.get(error.errno or 0, "")
        name = name if name in {"ENOSPC", "EDQUOT"} else "OSError"
    else:
        name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_IOERR") and _is_full(where):
        name = "SQLITE_FULL"  # the shared-memory file of WAL says so in its own way
    for names, what, advice in _CAUSES:
        if name.startswith(names):
            return f"The journal {where} can't be used: {what} ({one_line(str(error), 120)}). {advice}"
    return f"The journal {where} can't be used: {one_line(str(error), 200)}. Check the disk, or {_ELSEWHERE}."


def _is_full(where: str) -> bool:
    try:
        space = os.statvfs(Path(where).parent)
    except OSError:
        return False
    return bool(space.f_bavail * space.f_frsize < 128 * 1024)
