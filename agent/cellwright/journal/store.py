"""The durable event store: one SQLite file that only ever grows, shared by every kernel of a person.

An event on which the next step depends is on the disk, fsync included, when `append` returns; so whatever is killed,
no finished step is lost. Events that nothing depends on yet (outputs, proposals) wait in memory and are written in the
same transaction as the next one that counts. The list of runs, their status and their totals are read from the events;
there is no second copy that could differ.

Each event is stored with its link in the run's hash chain (`chain.py`), computed from what is in the file. All SQLite
work, and all hashing, happens on one thread of the journal's own, so that a slow disk never stops the event loop, and
the order in which `append` is called is the order in which events are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..chain import GENESIS, Stored, link, stored
from ..errors import JournalError
from ..events import ActionProposed, Event, Output, RunEnded, RunStarted
from ..record import Record
from ..run import Run
from . import listing, reading, search, upkeep
from .failures import BUSY_SECONDS, explain
from .held import Holds
from .listing import Filter, RunSummary, Spent
from .schema import open_file, transaction
from .search import Found, Hit
from .upkeep import Pruned

T = TypeVar("T")
Waiting = tuple[Event, Stored]


class Journal:
    """The events of all runs, in one file; `path` None keeps them in memory only. Every method raises `JournalError`.

    async with Journal(default_path()) as journal:
        await journal.append(run_id, event)
        print(await journal.runs(limit=10))

    on_note: told, in one line, when something can't be read because the file is damaged; logged as a warning by
    default. wait_seconds: how long to wait for another process that is writing.
    """

    def __init__(
        self,
        path: Path | str | None,
        *,
        on_note: Callable[[str], None] | None = None,
        wait_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.on_note = on_note or logging.getLogger(__name__).warning
        self._wait_seconds = wait_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cellwright-journal")
        # All belong to the thread: no other code touches them, so there is nothing to lock.
        self._database: sqlite3.Connection | None = None
        self._holds = Holds(None)
        self._waiting: dict[str, list[Waiting]] = {}

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

    # ---- writing ------------------------------------------------------------------------------------------------

    async def append(self, run_id: str, event: Event) -> None:
        """Store `event`; when this returns and the next step may depend on the event, it is on the disk.

        Cancelling the call does not take the event back. After an error the event waits, and is written with the
        next one, so that a full disk leaves no hole in the run.
        """
        if event.is_live:
            return

        def take() -> None:
            self._waiting.setdefault(run_id, []).append((event, stored(event)))
            if not isinstance(event, (Output, ActionProposed)):
                self._write(run_id)

        await self._on_thread(take)

    async def hold(self, run_id: str) -> None:
        """Say that this process is at work on the run, as `append` does by itself, until the run ends.

        Raises `JournalError` when another process is at work on it.
        """

        def take() -> None:
            full = reading.full_id(self._db(), run_id)
            if not self._holds.take(self._number(full)):
                raise JournalError(f"Another process is at work on run {full}. Wait for its end, or stop it first.")
            if full in self._waiting:  # what could not be written before, e.g. because the disk was full
                self._write(full)

        await self._on_thread(take)

    # ---- reading one run ----------------------------------------------------------------------------------------

    async def run(self, run_id: str) -> Run:
        """The run of that id, or of the one id that begins so. Raises `UnknownRun`."""
        return await self._on_thread(lambda: self._read(reading.full_id(self._db(), run_id)))

    async def latest(self) -> Run:
        """The run that a person started last, not one that another run called. Raises `JournalError` without any."""

        def read() -> Run:
            for run_id, body in listing.started(self._db(), Filter()):
                if not listing.is_called(body):
                    return self._read(run_id)
            raise JournalError(f"There are no runs in {self._where} yet.")

        return await self._on_thread(read)

    async def conversation(self, conversation_id: str) -> list[Run]:
        """The runs of one conversation, in the order in which they were started; empty for an unknown one."""

        def read() -> list[Run]:
            found = list(listing.started(self._db(), Filter(conversation=conversation_id)))
            return [self._read(run_id) for run_id, _ in reversed(found)]

        return await self._on_thread(read)

    async def called_by(self, run_id: str) -> list[Run]:
        """The runs of the agents that a run called, and of those that they called."""

        def read(caller: str) -> list[Run]:
            found = [run_id for run_id, _ in listing.started(self._db(), Filter(caller=caller))]
            return [run for called in reversed(found) for run in (self._read(called), *read(called))]

        return await self._on_thread(lambda: read(run_id))

    async def record(self, run_id: str) -> Record:
        """The run with its hash chain, every link computed again. Raises `UnknownRun`.

        It ends before the first event that does not fit; its `note` then says so.
        """

        def read() -> Record:
            return reading.read_record(self._db(), reading.full_id(self._db(), run_id))

        return await self._on_thread(read)

    async def records(self, conversation_id: str) -> list[Record]:
        """The records of one conversation, in the order in which their chains follow each other."""

        def read() -> list[Record]:
            ids = {run_id for run_id, _ in listing.started(self._db(), Filter(conversation=conversation_id))}
            return [reading.read_record(self._db(), run_id) for run_id in sorted(ids, key=self._number)]

        return await self._on_thread(read)

    async def check(self, run_id: str) -> str | None:
        """The first thing of the run that is not as it was written, in one line; None when its chain is whole."""
        return await self._on_thread(lambda: reading.check_run(self._db(), reading.full_id(self._db(), run_id)))

    # ---- lists --------------------------------------------------------------------------------------------------

    async def runs(self, limit: int = 50, **chosen: Any) -> Sequence[RunSummary]:
        """The runs that were started last, newest first; chosen: which, by the fields of `Filter`.

        Raises `UsageError` for an unknown status.
        """
        filtered = Filter(**chosen)

        def read() -> list[RunSummary]:
            summaries = listing.Summaries(self._db(), self._holds, self._blob)
            found = (self._summary(summaries, *begun) for begun in listing.started(self._db(), filtered))
            passed = (one for one in found if one and (filtered.status in (None, one.status)))
            return list(islice(passed, limit))

        return await self._on_thread(read)

    async def search(self, text: str, limit: int = 20, **chosen: Any) -> Sequence[Found]:
        """The runs that hold all the words of `text` in task, thoughts, code, answers or errors; the best first.

        A word of three letters or more also finds longer ones that begin so; words between double quotes must stand
        side by side. chosen: in which runs, by the fields of `Filter`.
        """
        filtered, words = Filter(**chosen), search.phrases(text)

        def read() -> list[Found]:
            db = self._db()
            summaries = listing.Summaries(db, self._holds, self._blob)
            numbers = None
            if chosen:
                numbers = {self._number(run_id) for run_id, _ in listing.started(db, filtered)}
            found = (self._found(summaries, hit, words) for hit in search.hits(db, words, numbers))
            return list(islice((one for one in found if one), limit))

        return await self._on_thread(read)

    async def stats(self, since: float | None = None, before: float | None = None) -> Sequence[Spent]:
        """What each model cost on each day, newest first. since, before: seconds since 1970-01-01 UTC."""
        return await self._on_thread(lambda: listing.spent(self._db(), since, before))

    async def removable(self, older_than_seconds: float) -> Sequence[str]:
        """Ids of the runs that `prune` would remove."""
        edge = time.time() - older_than_seconds
        return await self._on_thread(lambda: upkeep.removable(self._db(), self._holds, edge))

    async def prune(self, older_than_seconds: float) -> Pruned:
        """Remove whole runs whose last event is older, for ever; what newer runs rest on stays."""
        edge = time.time() - older_than_seconds
        return await self._on_thread(lambda: upkeep.prune(self._db(), self.path, self._holds, edge))

    # ---- to the thread and back ---------------------------------------------------------------------------------

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

    # ---- on the thread ------------------------------------------------------------------------------------------

    def _db(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = open_file(self.path, self._wait_seconds)
            self._holds = Holds(self.path)
        return self._database

    def _write(self, run_id: str) -> None:
        db, waiting = self._db(), self._waiting[run_id]
        try:
            with transaction(db):
                number = self._begun(run_id, waiting[0][0])
                before, last = self._end_of(run_id)
                for event, kept in waiting:
                    if event.seq <= last:
                        raise _Refused(f"Event {event.seq} of run {run_id} is there already. Start a new run.")
                    before, last = link(before, kept.body), event.seq
                    row = (run_id, event.seq, getattr(event, "kind", ""), event.time, before, kept.body)
                    db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
                    db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", kept.blobs.items())
                    search.index(db, number, event)
        except (_Refused, sqlite3.IntegrityError):
            # It would fail for ever, and with it every later event of the run.
            del self._waiting[run_id]
            raise
        is_over = isinstance(self._waiting.pop(run_id)[-1][0], RunEnded)
        # Not before the commit: had it failed, the number would be another run's.
        self._holds.release(number) if is_over else self._holds.take(number)

    def _begun(self, run_id: str, first: Event) -> int:
        """The run's number; a new run gets one, and the link that its chain begins with."""
        db = self._db()
        row = db.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            before = self._last_link(first.conversation) if isinstance(first, RunStarted) else GENESIS
            row = db.execute(
                "INSERT INTO runs (run_id, before) VALUES (?, ?) RETURNING number", (run_id, before)
            ).fetchone()
        number: int = row[0]
        return number

    def _last_link(self, conversation: str) -> str:
        query = """SELECT s.run_id FROM events s JOIN runs r ON r.run_id = s.run_id
            WHERE s.kind = 'run_started' AND json_extract(s.body, '$.conversation') = ?
            ORDER BY r.number DESC LIMIT 1"""
        row = self._db().execute(query, (conversation,)).fetchone()
        return self._end_of(row[0])[0] if row else GENESIS

    def _end_of(self, run_id: str) -> tuple[str, int]:
        """The run's last link and the number of its last event."""
        db = self._db()
        query = "SELECT link, seq FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1"
        row = db.execute(query, (run_id,)).fetchone()
        if row is None:
            (before,) = db.execute("SELECT before FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            return before, -1
        return row[0], row[1]

    def _close(self) -> None:
        failed: list[Exception] = []
        try:
            for run_id in list(self._waiting):
                try:
                    self._write(run_id)
                except (sqlite3.Error, OSError, JournalError) as error:  # those of other runs may still be written
                    failed.append(error)
            if failed:
                raise failed[0]
        finally:
            if self._database is not None:
                self._database.close()
                self._database = None
                self._holds.close()

    def _number(self, run_id: str) -> int:
        row = self._db().execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return row[0] if row else 0

    def _blob(self, name: str) -> str:
        return reading.blob(self._db(), name)

    def _read(self, run_id: str) -> Run:
        run, note = reading.read_run(self._db(), run_id)
        if note:
            self.on_note(note)
        return run

    def _summary(self, summaries: listing.Summaries, run_id: str, body: str) -> RunSummary | None:
        """The run's line; None, and a note, where it can't be read: the others are still listed."""
        try:
            return summaries.of(run_id, body)
        except ValueError:
            self.on_note(f"Run {run_id} can't be listed: it is damaged, or of a newer Cellwright.")
            return None

    def _found(self, summaries: listing.Summaries, hit: Hit, words: Sequence[str]) -> Found | None:
        event = reading.event(self._db(), hit.run_id, hit.seq)
        begun = (
            self._db()
            .execute("SELECT body FROM events WHERE run_id = ? AND kind = 'run_started'", (hit.run_id,))
            .fetchone()
        )
        run = self._summary(summaries, hit.run_id, begun[0]) if begun else None
        return search.found_in(event, words, run) if event and run else None


class _Closed(JournalError):
    """The journal was used after `aclose`."""


class _Refused(JournalError):
    """An event that can never be stored."""
