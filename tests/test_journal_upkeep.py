"""A journal over the years: damaged and repaired, pruned, held, and shared by many processes."""

# ruff: noqa: ASYNC240 - a test has the loop to itself

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cellwright.errors import JournalError
from cellwright.events import Event, RunStarted
from cellwright.journal import Journal, repair
from journals import form_1, store, told

PAGE = 4096


def one(number: int, *, long: bool = False) -> tuple[str, list[Event]]:
    run_id = f"run-{number:03}"
    begun = RunStarted(run_id="", conversation=f"c-{number // 4}", task="", model="m")
    text = f"{number} " * 4000 if long else f"{number}\n"
    return run_id, told(run_id, f"Task {number} about whales", more=begun, text=text, time=1000.0 * number)


RUNS = dict(one(number, long=number % 3 == 0) for number in range(40))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.sqlite"


async def filled(path: Path) -> None:
    async with Journal(path) as journal:
        for run_id, listed in RUNS.items():
            await store(journal, run_id, listed)


# ---- damage ----------------------------------------------------------------------------------------------------------


def overwrite(path: Path, at: float, data: bytes) -> None:
    start = int(path.stat().st_size * at)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def zero_page(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE)
        file.write(bytes(PAGE))


def root_of(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        found: int = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    return found


NOISE = random.Random(7).randbytes(3000)

DAMAGE: dict[str, Callable[[Path], None]] = {
    "bytes in the middle": lambda path: overwrite(path, 0.5, NOISE),
    "bytes at the end": lambda path: overwrite(path, 0.98, NOISE[:1000]),
    "bytes at the beginning": lambda path: overwrite(path, 0.0, NOISE),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut inside a page": lambda path: os.truncate(path, path.stat().st_size - 1234),
    "first page zeroed": lambda path: zero_page(path, 1),
    "root of the events zeroed": lambda path: zero_page(path, root_of(path, "events")),
    "root of the runs zeroed": lambda path: zero_page(path, root_of(path, "runs")),
    "root of the index of words zeroed": lambda path: zero_page(path, root_of(path, "words_data")),
    "a page in the middle zeroed": lambda path: zero_page(path, path.stat().st_size // PAGE // 2),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_what_can_be_read_of_a_damaged_journal_is_saved_and_nothing_else(path: Path, damage: str) -> None:
    await filled(path)
    DAMAGE[damage](path)
    harmed = path.read_bytes()
    done = await repair(path)
    assert done.kept and done.kept.read_bytes() == harmed, "the damaged file is kept as it was"
    assert done.kept.parent == path.parent and ".damaged-20" in done.kept.name
    async with Journal(path) as journal:
        saved = [run.id for run in await journal.runs(limit=100)]
        count = 0
        for run_id in saved:
            run = await journal.run(run_id)
            assert run.events == RUNS[run_id][: len(run.events)]
            count += len(run.events)
            assert await journal.check(run_id) in (
                None,
                f"Run {run_id}: it follows a run of the conversation that is no longer there.",
            )
        assert (len(saved), count) == (done.runs, done.events)
        assert len(saved) >= (10 if damage == "cut in half" else 30), done
        assert done.lost_events >= 0 and done.runs + done.lost_runs <= len(RUNS)
        assert len(await journal.search("whales", limit=100)) == len(saved)
        await store(journal, *one(50))
    assert (await repair(path)).kept is None, "what was repaired is whole"


async def test_damage_is_said_in_one_line_that_names_the_repair(path: Path) -> None:
    await filled(path)
    zero_page(path, root_of(path, "events"))
    with pytest.raises(JournalError) as error:
        async with Journal(path) as journal:
            await journal.runs()
    text = str(error.value)
    assert "damaged" in text and "`cellwright runs repair`" in text and "\n" not in text


async def test_a_whole_journal_is_not_touched_by_repair(path: Path) -> None:
    await filled(path)
    before = path.read_bytes()
    done = await repair(path)
    assert (done.runs, done.events, done.kept) == (40, 320, None)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*damaged*"))


async def test_a_damaged_journal_of_the_first_form_is_saved_too(path: Path) -> None:
    form_1(path, RUNS.items())
    assert (await repair(path)).kept is None
    overwrite(path, 0.5, NOISE)
    done = await repair(path)
    assert done.kept and done.runs > 30
    async with Journal(path) as journal:
        for summary in await journal.runs(limit=100):
            run = await journal.run(summary.id)
            assert run.events == RUNS[run.id][: len(run.events)]
            assert await journal.check(run.id) is None


async def test_repair_refuses_while_the_journal_is_open_and_where_there_is_nothing_to_save(path: Path) -> None:
    with pytest.raises(JournalError, match="no journal"):
        await repair(path)
    await filled(path)
    async with Journal(path) as journal:
        await journal.runs()
        with pytest.raises(JournalError, match=r"has .* open"):
            await repair(path)
    diary = path.with_name("diary")
    diary.write_text("Dear diary, " * 1000)
    with pytest.raises(JournalError, match="no run"):
        await repair(diary)
    assert diary.read_text().startswith("Dear diary")


WRITER = """
import asyncio, os, sys
from cellwright.journal import Journal
from journals import store, told

async def main(path):
    journal = Journal(path)
    for number in range(30):
        await store(journal, f"run-{number}", told(f"run-{number}", "t"))
    print("done", flush=True)
    os.kill(os.getpid(), 9)  # the log stays as it is

asyncio.run(main(*sys.argv[1:]))
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment)


async def finished(process: subprocess.Popen[str]) -> str:
    out, _ = await asyncio.to_thread(process.communicate, None, 120)
    return out


@pytest.mark.parametrize("left", [0.3, 0.7, 0.999])
async def test_f4_a_log_cut_in_the_middle_of_a_frame_costs_only_what_comes_after(path: Path, left: float) -> None:
    path.parent.mkdir()
    assert "done" in await finished(python(WRITER, path))
    log = path.with_name(path.name + "-wal")
    os.truncate(log, int(log.stat().st_size * left) | 1)
    async with Journal(path) as journal:
        found = await journal.runs(limit=100)
        assert len(found) >= 30 * left - 3 and (left > 0.9 or len(found) < 30)
        for summary in found:
            listed = told(summary.id, "t")
            assert (await journal.run(summary.id)).events == listed[: len((await journal.run(summary.id)).events)]
            assert await journal.check(summary.id) is None
        assert all(run.status == "success" for run in found[1:])
        await store(journal, *one(50))


async def test_what_waits_in_the_log_is_saved_by_a_repair(path: Path) -> None:
    path.parent.mkdir()
    assert "done" in await finished(python(WRITER, path))
    overwrite(path, 0.0, NOISE[:1000])
    done = await repair(path)
    assert (done.runs, done.lost_events) == (30, 0)


# ---- disks -----------------------------------------------------------------------------------------------------------


async def test_a_file_that_may_not_grow_is_said_and_no_event_is_lost(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    listed = told("r", "t", text="x" * 500_000)
    async with Journal(path) as journal:
        await store(journal, *one(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        try:
            with pytest.raises(JournalError, match="the disk takes no more") as error:
                await store(journal, "r", listed)
            assert "\n" not in str(error.value)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        held = len((await journal.run("r")).events)
        await store(journal, "r", listed[6:])
        assert (await journal.run("r")).events == listed
        assert held < len(listed)
        assert await journal.check("r") is None


LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


async def test_a_journal_locked_by_another_process_is_said_and_the_event_waits(path: Path) -> None:
    run_id, listed = one(1)
    async with Journal(path, wait_seconds=0.3) as journal:
        locker = python(LOCKER, path)
        assert locker.stdout and await asyncio.to_thread(locker.stdout.readline) == "locked\n"
        with pytest.raises(JournalError, match="another process keeps it locked"):
            await journal.append(run_id, listed[0])
        assert await journal.runs() == [], "reading goes on"
        await finished(locker)
        await store(journal, run_id, listed[1:])
        assert (await journal.run(run_id)).events == listed


# ---- many processes --------------------------------------------------------------------------------------------------

APPENDER = """
import asyncio, sys
from cellwright.journal import Journal
from journals import numbered, store, told
from cellwright.events import Told

async def main(path, name):
    begun = told(name, "Count", end=None)[:1]
    more = [Told(step=1, text=f"{name} {number}", by="person") for number in range(199)]
    async with Journal(path) as journal:
        await store(journal, name, numbered([*begun, *more]))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_f4_four_processes_append_200_events_each_while_one_reads(path: Path) -> None:
    async with Journal(path) as journal:
        await journal.runs()
        writers = [python(APPENDER, path, f"w{number}") for number in range(4)]
        seen: dict[str, int] = {}
        while any(process.poll() is None for process in writers):
            for summary in await journal.runs():
                record = await journal.record(summary.id)
                assert record.note == "" and len(record.lines) >= seen.get(summary.id, 0)
                seen[summary.id] = len(record.lines)
            await asyncio.sleep(0.02)
        for process in writers:
            await finished(process)
            assert process.returncode == 0
        for number in range(4):
            assert len((await journal.record(f"w{number}")).lines) == 200
            assert await journal.check(f"w{number}") is None
        assert len(seen) == 4


HOLDER = """
import asyncio, sys
from cellwright.journal import Journal
from journals import store, told

async def main(path):
    async with Journal(path) as journal:
        await store(journal, "held", told("held", "t", end=None))
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has locks that tell who is at work")
async def test_f4_a_run_whose_process_was_killed_is_unfinished_and_one_at_work_is_running(path: Path) -> None:
    path.parent.mkdir()
    holder = python(HOLDER, path)
    assert holder.stdout and await asyncio.to_thread(holder.stdout.readline) == "held\n"
    async with Journal(path) as journal:
        assert [run.status for run in await journal.runs()] == ["running"]
        with pytest.raises(JournalError, match="at work on run held"):
            await journal.hold("held")
        assert await journal.runs(status="unfinished") == []
        holder.kill()
        await finished(holder)
        assert [run.status for run in await journal.runs()] == ["unfinished"]
        assert [run.id for run in await journal.runs(status="unfinished")] == ["held"]
        await journal.hold("held")
        assert [run.status for run in await journal.runs()] == ["running"]
    async with Journal(path) as journal:
        assert [run.status for run in await journal.runs()] == ["unfinished"]


# ---- pruning ---------------------------------------------------------------------------------------------------------

DAY = 86_400.0


def aged(run_id: str, days: float, conversation: str = "", **facts: str) -> list[Event]:
    begun = RunStarted(run_id="", conversation=conversation or f"c-{run_id}", task="", **facts)  # type: ignore[arg-type]
    return told(run_id, f"Task {run_id}", more=begun, text=run_id * 5000, time=time.time() - days * DAY)


async def test_old_runs_go_whole_and_what_newer_ones_rest_on_stays(path: Path) -> None:
    runs = {
        "old": aged("old", 200),
        "old-before": aged("old-before", 190, "talk"),
        "new-after": aged("new-after", 1, "talk"),
        "parent": aged("parent", 180),
        "branch": aged("branch", 2, parent="parent"),
        "caller": aged("caller", 3),
        "called": aged("called", 170, caller="caller"),
        "grandparent": aged("grandparent", 160),
        "middle": aged("middle", 150, "m", parent="grandparent"),
        "last": aged("last", 4, parent="middle"),
        "old-too": aged("old-too", 100, "gone"),
        "old-three": aged("old-three", 99, "gone"),
    }
    async with Journal(path) as journal:
        for run_id, listed in runs.items():
            await store(journal, run_id, listed)
        done = await journal.prune(90 * DAY)
        assert (done.runs, done.events, done.note) == (3, 24, "")
        kept = set(runs) - {"old", "old-too", "old-three"}
        assert {run.id for run in await journal.runs()} == kept
        for run_id in kept:
            assert (await journal.run(run_id)).events == runs[run_id]
            assert await journal.check(run_id) is None
        assert [found.run.id for found in await journal.search("old")] == ["old-before"]
        assert len(await journal.search("task")) == len(kept)
        assert (await journal.prune(90 * DAY)).runs == 0
        await store(journal, "old", aged("old", 0))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM blobs").fetchone() == (10,), "the long texts of removed runs are gone"
        assert_append_only(db)


def assert_append_only(db: sqlite3.Connection, *, is_empty: bool = False) -> None:
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").fetchone() == (6,)
    for table in () if is_empty else ("events", "runs", "blobs"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(f"DELETE FROM {table}")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(f"UPDATE {table} SET rowid = 7")


async def test_pruning_frees_the_disk_and_leaves_no_trace(path: Path) -> None:
    async with Journal(path) as journal:
        for number in range(50):
            await store(journal, f"r{number}", aged(f"r{number}", 100 if number else 1))
        before = path.stat().st_size + path.with_name(path.name + "-wal").stat().st_size
        done = await journal.prune(30 * DAY)
        after = path.stat().st_size + path.with_name(path.name + "-wal").stat().st_size
        assert done.runs == 49
        assert before - after == done.bytes > 1_000_000
    assert b"r7r7r7" not in path.read_bytes()
    assert (await repair(path)).runs == 1


async def test_a_run_that_is_at_work_is_never_removed(path: Path) -> None:
    async with Journal(path) as journal:
        await store(journal, "open", told("open", "t", end=None, time=1000.0))
        assert (await journal.prune(0.0)).runs == 0
    async with Journal(path) as journal:
        assert (await journal.prune(0.0)).runs == 1


PRUNER = """
import asyncio, os, sqlite3, sys
from cellwright.journal import Journal

async def main(path, statements):
    async with Journal(path) as journal:
        seen = []
        def trace(statement):
            seen.append(statement)
            if len(seen) == int(statements):
                os.kill(os.getpid(), 9)
        await journal._on_thread(lambda: journal._db().set_trace_callback(trace))
        await journal.prune(0.0)
    print(len(seen), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_while_pruning_all_or_nothing_is_gone_and_the_journal_is_append_only(path: Path) -> None:
    await filled(path)
    before = path.read_bytes()
    statements = int(await finished(python(PRUNER, path, 0)))
    left = []
    for share in (0.01, 0.1, 0.5, 0.9, 1.0):
        for leftover in path.parent.glob("journal.sqlite-*"):
            leftover.unlink()
        path.write_bytes(before)
        assert await finished(python(PRUNER, path, max(2, int(statements * share)))) == "", "it was killed"
        async with Journal(path) as journal:
            left.append(len(await journal.runs(limit=100)))
            assert [await journal.check(run.id) for run in (await journal.runs())[:5]] == [None] * min(5, left[-1])
        with closing(sqlite3.connect(path)) as db:
            assert_append_only(db, is_empty=not left[-1])
    assert left == sorted(left, reverse=True) and set(left) == {0, 40}
