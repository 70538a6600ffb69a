"""The journal's chain: stored with each event, computed over an older journal, and proved on demand."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cellwright.chain import GENESIS, LONG, link
from cellwright.errors import JournalError
from cellwright.events import Event, Output, RunStarted
from cellwright.journal import Journal
from cellwright.outputs import Display, Stream
from cellwright.record import fault, record_of
from cellwright.run import Run
from journals import FORM_1, form_1, store, told

PICTURE = "iVBOR" * LONG


def of_conversation(run_id: str, conversation: str = "c", text: str = "1\n", time: float = 1000.0) -> list[Event]:
    begun = RunStarted(run_id="", conversation=conversation, task="", model="m")
    return told(run_id, f"Task of {run_id}", more=begun, text=text, time=time)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.sqlite"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    async with Journal(path) as opened:
        yield opened


async def test_a_record_is_the_same_from_the_journal_and_from_the_runs_alone(journal: Journal) -> None:
    for number, run_id in enumerate(("a", "b", "c")):
        await store(journal, run_id, of_conversation(run_id, text="x" * (LONG + number), time=1000.0 * number))
    records = await journal.records("c")
    assert records == [
        replace(made, run=kept.run)
        for made, kept in zip(record_of(Run(kept.run.events) for kept in records), records, strict=True)
    ]
    assert [record.before for record in records] == [GENESIS, records[0].last, records[1].last]
    assert [fault(record) for record in records] == [None] * 3
    assert [await journal.check(run_id) for run_id in "abc"] == [None] * 3
    assert (await journal.record("b")).lines == records[1].lines


async def test_runs_of_other_conversations_between_them_are_not_taken_up(journal: Journal) -> None:
    await store(journal, "a", of_conversation("a"))
    await store(journal, "x", of_conversation("x", "other"))
    await store(journal, "b", of_conversation("b"))
    assert (await journal.record("x")).before == GENESIS
    assert (await journal.record("b")).before == (await journal.record("a")).last


async def test_a_picture_is_stored_once_over_all_runs(journal: Journal, path: Path) -> None:
    shown = Output(step=1, output=Display({"image/png": PICTURE, "text/plain": "<Figure>"}))
    for run_id in ("a", "b"):
        begun, *rest = told(run_id, "Plot it")
        listed = [begun, *(replace(shown, seq=e.seq) if isinstance(e, Output) else e for e in rest)]
        await store(journal, run_id, listed)
        assert (await journal.run(run_id)).events == listed
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT sha256, text FROM blobs").fetchall() == [
            (hashlib.sha256(PICTURE.encode()).hexdigest(), PICTURE)
        ]
        assert not other.execute("SELECT 1 FROM events WHERE length(body) > 3000").fetchone()


async def test_a_journal_of_the_first_form_is_brought_to_the_new_one(path: Path) -> None:
    runs = [(run_id, of_conversation(run_id, text="y" * LONG * 2, time=t)) for run_id, t in (("b", 2e3), ("a", 1e3))]
    form_1(path, runs)
    async with Journal(path) as journal:
        for run_id, listed in runs:
            assert (await journal.run(run_id)).events == listed
            assert await journal.check(run_id) is None
        first, second = await journal.records("c")
        assert (first.run.id, second.run.id, second.before) == ("a", "b", first.last)
        await store(journal, "new", of_conversation("new", time=3e3))
        assert (await journal.record("new")).before == second.last
        assert [run.id for run in await journal.runs()] == ["new", "b", "a"]
    with closing(sqlite3.connect(path)) as other:
        tables = {name for (name,) in other.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert {"events", "runs", "blobs"} < tables and "plain_events" not in tables
        assert other.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").fetchone() == (6,)


def test_the_first_form_is_the_one_that_was_written_then(path: Path) -> None:
    form_1(path, [])
    with closing(sqlite3.connect(path)) as old:
        found = [sql for (sql,) in old.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")]
    assert found == list(FORM_1[:5])


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    form_1(path, [("a", of_conversation("a"))])
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("INSERT INTO events VALUES ('bad', 0, 'dream', 0.0, '{\"kind\": \"dream\"}')")
    with pytest.raises(JournalError, match="repair"):
        await Journal(path).runs()
    with closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
        assert old.execute("SELECT count(DISTINCT run_id) FROM events").fetchone() == (2,)


# ---- what is found ---------------------------------------------------------------------------------------------------


def tamper(path: Path, statement: str, *values: object) -> None:
    """Change the file behind the journal's back, as somebody would who knows SQL."""
    with closing(sqlite3.connect(path)) as other, other:
        for (name,) in other.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            other.execute(f"DROP TRIGGER {name}")
        assert other.execute(statement, values).rowcount == 1


TAMPERING: dict[str, tuple[str, ...]] = {
    "event 4 does not fit": ("UPDATE events SET body = replace(body, '1', '2') WHERE run_id = 'b' AND seq = 4",),
    "event 2 does not fit": ("DELETE FROM events WHERE run_id = 'b' AND seq = 2",),
    "event 3 does not fit": ("UPDATE events SET link = ? WHERE run_id = 'b' AND seq = 3", "0" * 64),
    "event 0 does not fit": ("UPDATE runs SET before = ? WHERE run_id = 'b'", GENESIS),
    "kind or time of event 4 was changed": ("UPDATE events SET time = 5 WHERE run_id = 'b' AND seq = 4",),
    "a long text of event 4 was changed": ("UPDATE blobs SET text = 'z'",),
    "a long text of event 4 is missing": ("DELETE FROM blobs",),
}


@pytest.mark.parametrize("said", TAMPERING)
async def test_what_was_changed_is_named(path: Path, said: str) -> None:
    async with Journal(path) as journal:
        await store(journal, "a", of_conversation("a"))
        await store(journal, "b", of_conversation("b", text="1" * (LONG + 1) if "long text" in said else "1\n"))
    tamper(path, *TAMPERING[said])
    async with Journal(path) as journal:
        assert said in (await journal.check("b") or "")
        assert await journal.check("a") is None


async def test_a_run_that_was_taken_out_whole_is_missed_by_the_next(path: Path) -> None:
    async with Journal(path) as journal:
        for run_id in ("a", "b"):
            await store(journal, run_id, of_conversation(run_id))
    with closing(sqlite3.connect(path)) as other, other:
        for name in ("events_are_never_deleted", "runs_are_never_deleted"):
            other.execute(f"DROP TRIGGER {name}")
        other.execute("DELETE FROM events WHERE run_id = 'a'")
        other.execute("DELETE FROM runs WHERE run_id = 'a'")
    async with Journal(path) as journal:
        assert "no longer there" in (await journal.check("b") or "")


CUT: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "no JSON": lambda before, body: (link(before, body), body[: len(body) // 2]),
    "other JSON": lambda before, body: (link(before, body), '{"kind":"output","seq":4}'),
}


@pytest.mark.parametrize("how", CUT)
async def test_an_unreadable_tail_is_cut_off_at_the_last_whole_event_and_that_is_said(path: Path, how: str) -> None:
    listed = of_conversation("a")
    async with Journal(path) as journal:
        await store(journal, "a", listed)
        lines = (await journal.record("a")).lines
    one, body = CUT[how](lines[3].link, lines[4].body)
    tamper(path, "UPDATE events SET link = ?, body = ? WHERE seq = 4", one, body)
    notes: list[str] = []
    async with Journal(path, on_note=notes.append) as journal:
        assert (await journal.run("a")).events == listed[:4]
        record = await journal.record("a")
        assert [run.id for run in await journal.runs()] == ["a"]
    assert record.run.events == listed[:4] and len(record.lines) == 4
    for note in (*notes, record.note):
        assert "up to its event 4" in note and "runs repair" in note and "\n" not in note
    assert notes


async def test_a_changed_tail_is_left_out_of_the_record_but_not_of_the_run(path: Path) -> None:
    async with Journal(path) as journal:
        await store(journal, "a", of_conversation("a"))
    tamper(path, "UPDATE events SET body = replace(body, 'stdout', 'stderr') WHERE seq = 4")
    async with Journal(path) as journal:
        run, record = await journal.run("a"), await journal.record("a")
    assert isinstance(run.events[4], Output) and run.events[4].output == Stream("stderr", "1\n")
    assert len(record.lines) == 4 and record.note
