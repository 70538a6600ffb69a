"""The list of runs, filtered, and what they cost: read from the events, nothing is kept twice.

A run that calls an agent counts its cost among its own, as its limits do. `stats` adds up replies instead, so no dollar
is there twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

from ..chain import restored
from ..errors import UsageError, nearest
from ..events import Event, RunEnded, RunStarted, Status
from ..run import Run
from .held import Holds

Listed = Status | Literal["unfinished"]
"""`unfinished`: without an end, and no process is at work on it (it was killed)."""
STATUSES = "running unfinished success out_of_steps out_of_time out_of_tokens out_of_money interrupted failed".split()


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the list of runs."""

    id: str
    conversation: str
    author: Literal["agent", "person"]
    task: str
    status: Listed
    """`running` also for a run whose process was killed, where the system can't tell who is at work (`held.py`)."""
    model: str
    started: float
    """Seconds since 1970-01-01 UTC."""
    steps: int
    seconds: float
    tokens: int
    cost: float
    """US dollars, of the replies whose price is known."""
    cost_known: bool
    origin: str = ""
    """Which folder the task was given in, as a hash."""
    parent: str | None = None
    """Run id from which it branched."""
    caller: str | None = None
    """Run id of the agent that called it as a tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which runs are listed; what is None, or empty, lets all through."""

    status: str | None = None
    model: str | None = None
    """Part of the model's name, in any case."""
    author: Literal["agent", "person"] | None = None
    since: float | None = None
    """Started at or after this time, in seconds since 1970-01-01 UTC."""
    before: float | None = None
    """Started before this time, in seconds since 1970-01-01 UTC."""
    min_cost: float | None = None
    """US dollars."""
    origin: str | None = None
    conversation: str | None = None
    caller: str | None = None
    """Id of the run that called it."""

    def __post_init__(self) -> None:
        if self.status is not None and self.status not in STATUSES:
            raise UsageError(f"No run has the status {self.status!r}{nearest(self.status, STATUSES)}")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model did on one day."""

    day: str
    """The day here, e.g. `2026-11-21`."""
    model: str
    runs: int
    """So many were started on that day."""
    replies: int
    tokens: int
    cost: float
    """US dollars, of the replies whose price is known."""
    cost_known: bool


# A damaged body must not take the whole list with it: where it is no JSON, its fields are NULL.
def _field(name: str, table: str = "s") -> str:
    return f"CASE WHEN json_valid({table}.body) THEN json_extract({table}.body, '$.{name}') END"


# Only as the last event: a run may go on after its end.
_ENDED = """(SELECT {} FROM events e WHERE e.run_id = s.run_id AND e.kind = 'run_ended'
    AND e.seq = (SELECT max(l.seq) FROM events l WHERE l.run_id = s.run_id))"""
_REPLIES = "(SELECT sum({}) FROM events r WHERE r.run_id = s.run_id AND r.kind IN ('reply_received', 'planned'))"
_STATUS = _ENDED.format(_field("status", "e"))
_CONDITIONS = {
    "status": f"{_STATUS} = ?",
    "model": f"instr(lower({_field('model')}), lower(?)) > 0",
    "author": f"{_field('author')} = ?",
    "since": "s.time >= ?",
    "before": "s.time < ?",
    "min_cost": f"coalesce({_ENDED.format(_field('totals.cost', 'e'))}, {_REPLIES.format(_field('cost', 'r'))}) >= ?",
    "origin": f"{_field('origin')} = ?",
    "conversation": "json_extract(s.body, '$.conversation') = ?",  # as in its index
    "caller": "json_extract(s.body, '$.caller') = ?",  # likewise
}


def started(db: sqlite3.Connection, chosen: Filter) -> Iterator[tuple[str, str]]:
    """Id and first event, as stored, of the runs that pass, newest first."""
    conditions, values = ["s.kind = 'run_started'"], []
    for field in fields(chosen):
        value = getattr(chosen, field.name)
        if value is None or value == "":
            continue
        if value in ("running", "unfinished"):
            conditions.append(f"{_STATUS} IS NULL")
            continue
        conditions.append(_CONDITIONS[field.name])
        values.append(value)
    where = " AND ".join(conditions)
    yield from db.execute(
        f"SELECT s.run_id, s.body FROM events s WHERE {where} ORDER BY s.time DESC, s.rowid DESC", values
    )


def is_called(body: str) -> bool:
    """Whether the run that begins with this event was called by another one; False where it can't be read."""
    try:
        begun = json.loads(body)
    except ValueError:
        return False
    return isinstance(begun, dict) and bool(begun.get("caller"))


class Summaries:
    """Makes the line of a run."""

    def __init__(self, db: sqlite3.Connection, holds: Holds, blob: Callable[[str], str]) -> None:
        self._db, self._holds, self._blob = db, holds, blob

    def of(self, run_id: str, body: str) -> RunSummary:
        """The line of the run that began with that event. Raises `ValueError` where it can't be read."""
        begun = restored(body, self._blob)
        if not isinstance(begun, RunStarted):
            raise ValueError("it does not begin with its start")
        last = self._last(run_id)
        run = Run([begun, last])
        if not isinstance(last, RunEnded):
            # Totals of an unfinished run are the sum of its replies; its outputs, which may be large, are not read.
            run = Run([begun, *self._replies(run_id, last.seq), last])
        totals = run.totals
        return RunSummary(
            id=run_id,
            conversation=begun.conversation,
            author=begun.author,
            task=begun.task,
            status="unfinished" if run.ended is None and self._is_left(run_id) else run.status,
            model=begun.model,
            started=begun.time,
            steps=totals.steps,
            seconds=totals.seconds,
            tokens=totals.usage.total,
            cost=totals.cost,
            cost_known=totals.cost_known,
            origin=begun.origin,
            parent=begun.parent,
            caller=begun.caller,
        )

    def _last(self, run_id: str) -> Event:
        query = "SELECT body FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1"
        return restored(self._db.execute(query, (run_id,)).fetchone()[0], self._blob)

    def _replies(self, run_id: str, last: int) -> Iterator[Event]:
        query = """SELECT body FROM events
            WHERE run_id = ? AND kind IN ('reply_received', 'planned') AND seq < ? ORDER BY seq"""
        for (body,) in self._db.execute(query, (run_id, last)):
            yield restored(body, self._blob)

    def _is_left(self, run_id: str) -> bool:
        (number,) = self._db.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return self._holds.is_free(number)


def spent(db: sqlite3.Connection, since: float | None, before: float | None) -> list[Spent]:
    """What each model cost on each day, newest day first."""
    times = (since or 0.0, before or 1e12)
    day = "date({}, 'unixepoch', 'localtime')"
    starts = f"""SELECT {day.format("s.time")}, {_field("model")}, count(*) FROM events s
        WHERE s.kind = 'run_started' AND s.time >= ? AND s.time < ? GROUP BY 1, 2"""
    replies = f"""SELECT {day.format("r.time")}, {_field("model")}, count(*),
            total({_field("usage.prompt", "r")}) + total({_field("usage.completion", "r")}),
            total({_field("cost", "r")}), count({_field("cost", "r")}) = count(*)
        FROM events r JOIN events s ON s.run_id = r.run_id AND s.kind = 'run_started'
        WHERE r.kind IN ('reply_received', 'planned') AND r.time >= ? AND r.time < ? GROUP BY 1, 2"""
    begun = {(when, model): count for when, model, count in db.execute(starts, times) if model}
    paid = {(when, model): rest for when, model, *rest in db.execute(replies, times) if model}
    return [
        Spent(when, model, begun.get((when, model), 0), count, int(tokens), cost, bool(known))
        for when, model in sorted({*begun, *paid}, key=lambda key: (key[0], key[1]), reverse=True)
        for count, tokens, cost, known in [paid.get((when, model), (0, 0, 0.0, True))]
    ]
