"""Journals for tests: made as an older version made them, and runs that speak of something."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Event,
    Output,
    ReplyReceived,
    RunEnded,
    RunStarted,
    Status,
)
from cellwright.facts import Totals, Usage
from cellwright.journal import Journal
from cellwright.outputs import Failure, Stream
from cellwright.wire import to_json

FORM_1 = (
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
    "PRAGMA application_id = 1130720364",
    "PRAGMA user_version = 1",
    "PRAGMA journal_mode = WAL",
)
"""What the first version did with a new file."""


def form_1(path: Path, runs: Iterable[tuple[str, Sequence[Event]]]) -> None:
    """A journal as the first version wrote it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        for statement in FORM_1:
            db.execute(statement)
        with db:
            for run_id, listed in runs:
                rows = [(run_id, e.seq, getattr(e, "kind", ""), e.time, to_json(e)) for e in listed]
                db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)


def numbered(listed: Iterable[Event], time: float = 1000.0) -> list[Event]:
    """The events with their places in the run, a second apart."""
    return [replace(event, seq=seq, time=time + seq) for seq, event in enumerate(listed)]


def told(
    run_id: str,
    task: str,
    *,
    thought: str = "Let me see.",
    code: str = "print(1)",
    answer: str = "1",
    error: str = "",
    text: str = "1\n",
    time: float = 1000.0,
    end: Status | None = "success",
    cost: float | None = 0.001,
    more: RunStarted | None = None,
) -> list[Event]:
    """A run of one step in the words given. more: its start, of which the id and the task are set."""
    started = more or RunStarted(run_id=run_id, conversation=f"c-{run_id}", task=task, model="some/model")
    usage = Usage(100, 20)
    listed: list[Event] = [
        replace(started, run_id=run_id, task=task),
        ReplyReceived(step=1, text=f"{thought}\n```python\n{code}\n```", usage=usage, cost=cost, seconds=0.5),
        ActionProposed(step=1, thought=thought, code=code),
        ActionDecided(step=1, verdict="approved", by="auto", code=code),
        Output(step=1, output=Failure("ValueError", error) if error else Stream("stdout", text)),
        AnswerGiven(step=1, data={"text/plain": answer}),
        ActionFinished(step=1, outcome="error" if error else "ok", seconds=0.1),
    ]
    if end:
        totals = Totals(steps=1, seconds=2.0, usage=usage, cost=cost or 0.0, cost_known=cost is not None)
        listed.append(RunEnded(status=end, totals=totals))
    return numbered(listed, time)


async def store(journal: Journal, run_id: str, listed: Iterable[Event]) -> None:
    """Append them all."""
    for event in listed:
        await journal.append(run_id, event)
