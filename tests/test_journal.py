"""The journal: what was appended is there, whatever happens to the process, the disk or the file."""

# ruff: noqa: ASYNC240 - a test has the loop to itself

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cellwright.chain import link
from cellwright.errors import JournalError, UnknownRun
from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    Event,
    Output,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunStarted,
    Status,
)
from cellwright.facts import Totals, Usage
from cellwright.journal import MIGRATIONS, Journal, default_path
from cellwright.outputs import Stream
from journals import form_1, numbered, store


def events(
    run_id: str, *, conversation: str = "c1", time: float = 1000.0, steps: int = 1, end: Status | None = "success"
) -> list[Event]:
    """A run as the loop would emit it."""
    listed: list[Event] = [RunStarted(run_id=run_id, conversation=conversation, task=f"Task of {run_id}", model="m")]
    for step in range(1, steps + 1):
        listed += [
            ReplyReceived(step=step, text="…", usage=Usage(100, 20), cost=0.001, seconds=0.5),
            ActionProposed(step=step, thought="Think.", code="print(1)"),
            ActionDecided(step=step, verdict="approved", by="auto", code="print(1)"),
            Output(step=step, output=Stream("stdout", "1\n")),
            ActionFinished(step=step, outcome="ok", seconds=0.1),
        ]
    if end:
        listed.append(RunEnded(status=end, totals=Totals(steps=steps, seconds=2.0, usage=Usage(100, 20), cost=0.001)))
    return numbered(listed, time)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.sqlite"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    async with Journal(path) as opened:
        yield opened


async def test_a_run_comes_back_as_it_was(journal: Journal, path: Path) -> None:
    await store(journal, "run-a", events("run-a"))
    async with Journal(path) as another:
        run = await another.run("run-a")
    assert run.events == events("run-a")
    assert run.status == "success"
    assert path.stat().st_mode & 0o077 == 0, "others must not read it"


async def test_outputs_ride_along_and_the_next_event_that_counts_writes_them_in_order(
    journal: Journal, path: Path
) -> None:
    listed = events("r", end=None)
    await store(journal, "r", listed[:-1])  # up to the output
    with sqlite3.connect(path) as other:
        assert [seq for (seq,) in other.execute("SELECT seq FROM events ORDER BY rowid")] == [0, 1, 2, 3]
        await journal.append("r", listed[-1])
        assert [seq for (seq,) in other.execute("SELECT seq FROM events ORDER BY rowid")] == [0, 1, 2, 3, 4, 5]
    other.close()


async def test_closing_writes_what_waits(path: Path) -> None:
    listed = events("r", end=None)[:-1]
    async with Journal(path) as journal:
        await store(journal, "r", listed)
    async with Journal(path) as journal:
        assert (await journal.run("r")).events == listed
    await journal.aclose()
    with pytest.raises(JournalError, match="closed"):
        await journal.append("r", listed[0])


async def test_pieces_of_replies_are_not_stored(journal: Journal) -> None:
    await store(journal, "r", events("r"))
    await journal.append("r", ReplyDelta(step=1, text="x"))
    assert len((await journal.run("r")).events) == len(events("r"))


async def test_a_prefix_of_an_id_is_enough_and_a_wrong_one_is_told_the_nearest(journal: Journal) -> None:
    for run_id in ("apple-1", "apple-2", "pear-1"):
        await store(journal, run_id, events(run_id))
    assert (await journal.run("pe")).id == "pear-1"
    assert (await journal.run("apple-2")).id == "apple-2"
    with pytest.raises(JournalError, match="Several runs begin with 'app'"):
        await journal.run("app")
    with pytest.raises(UnknownRun, match="did you mean 'pear-1'"):
        await journal.run("paer-1")
    with pytest.raises(UnknownRun):
        await journal.run("")


async def test_f5_runs_are_listed_newest_first_with_totals(journal: Journal) -> None:
    for number in range(3):
        await store(journal, f"r{number}", events(f"r{number}", time=1000.0 * number))
    await store(journal, "open", events("open", time=9000.0, steps=2, end=None))
    newest, *others = await journal.runs()
    assert (newest.id, newest.status, newest.steps, newest.tokens) == ("open", "running", 2, 240)
    assert newest.cost == pytest.approx(0.002)
    assert newest.seconds == 10.0
    assert [summary.id for summary in others] == ["r2", "r1", "r0"]
    assert (others[0].status, others[0].seconds, others[0].tokens) == ("success", 2.0, 120)
    assert [summary.id for summary in await journal.runs(limit=2)] == ["open", "r2"]
    assert (await journal.latest()).id == "open"


async def test_a_conversation_is_its_runs_in_order(journal: Journal) -> None:
    await store(journal, "b", events("b", time=2000.0))
    await store(journal, "a", events("a", time=1000.0))
    await store(journal, "other", events("other", conversation="c2"))
    assert [run.id for run in await journal.conversation("c1")] == ["a", "b"]
    assert await journal.conversation("unknown") == []


async def test_nothing_can_be_changed_or_deleted(journal: Journal, path: Path) -> None:
    await store(journal, "r", events("r"))
    other = sqlite3.connect(path)
    for statement in ("UPDATE events SET body = '{}'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    other.close()


async def test_the_same_event_twice_is_refused_and_the_run_goes_on(journal: Journal) -> None:
    listed = events("r")
    await store(journal, "r", listed[:2])
    with pytest.raises(JournalError, match="there already"):
        await journal.append("r", listed[1])
    await store(journal, "r", listed[2:])
    assert (await journal.run("r")).events == listed


async def test_half_a_character_does_not_end_the_run(journal: Journal) -> None:
    await journal.append("r", events("r")[0])
    await journal.append("r", ReplyReceived(seq=1, step=1, text="x\ud83dy", usage=Usage(), cost=None, seconds=0.1))
    reply = (await journal.run("r")).steps[0].reply
    assert reply
    assert reply.text == "x?y"


async def test_cancelling_loses_and_reorders_nothing(journal: Journal) -> None:
    listed = events("r", steps=50)
    for event in listed:
        appending = asyncio.ensure_future(journal.append("r", event))
        await asyncio.sleep(0)
        appending.cancel()
        await asyncio.gather(appending, return_exceptions=True)
    assert (await journal.run("r")).events == listed


async def test_a_slow_disk_does_not_stop_the_loop(journal: Journal, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # holds the lock, as a slow disk would hold the write
    appending = asyncio.ensure_future(journal.append("r", events("r")[0]))
    await asyncio.sleep(0.2)
    assert not appending.done()
    other.execute("COMMIT")
    other.close()
    await appending


# ---- many processes, killed processes -------------------------------------------------------------------------------

WRITER = """
import asyncio, os, sys
from cellwright.journal import Journal
from test_journal import events, numbered

async def main(path, name, runs, steps):
    async with Journal(path) as journal:
        for number in range(int(runs)):
            for event in events(f"{name}-{number}", steps=int(steps)):
                await journal.append(f"{name}-{number}", event)
                print(event.seq, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def writer(path: Path, name: str, runs: int, steps: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", WRITER, str(path), name, str(runs), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


async def test_four_processes_open_and_write_one_new_file_at_once(path: Path) -> None:
    writers = [writer(path, f"w{number}", runs=10, steps=5) for number in range(4)]
    for process in writers:
        assert await asyncio.to_thread(process.communicate, None, 120)
        assert process.returncode == 0
    async with Journal(path) as journal:
        summaries = await journal.runs(limit=100)
        assert len(summaries) == 40
        for summary in summaries:
            assert (await journal.run(summary.id)).events == events(summary.id, steps=5)


async def test_f4_after_kill_9_every_event_whose_append_returned_is_there(path: Path) -> None:
    process = writer(path, "killed", runs=1, steps=5000)
    assert process.stdout
    seen = -1
    while seen < 200:
        seen = int(await asyncio.to_thread(process.stdout.readline))
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")[:-1]
    process.stdout.close()
    process.wait()
    seen = int(rest[-1]) if rest else seen
    async with Journal(path) as journal:
        run = await journal.run("killed-0")
    whole = events("killed-0", steps=5000)
    assert run.events == whole[: len(run.events)]
    # An output or a proposal may still have waited; whatever a next step depends on may not.
    last = max(event.seq for event in whole[: seen + 1] if not isinstance(event, (Output, ActionProposed)))
    assert run.events[-1].seq >= last
    assert run.status == "running"


# ---- bad files, bad disks -------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "cellwright-test", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here (needs root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def one_line(error: pytest.ExceptionInfo[JournalError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert "CELLWRIGHT_JOURNAL" in text
    return text


async def test_a_full_disk_is_said_and_when_there_is_space_again_no_event_is_missing(small_disk: Path) -> None:
    from dataclasses import replace

    big = "x" * 20_000
    listed = events("r", steps=100)
    listed = [replace(e, output=Stream("stdout", big)) if isinstance(e, Output) else e for e in listed]
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * 100_000)
    async with Journal(small_disk / "journal.sqlite") as journal:
        stored = 0
        with pytest.raises(JournalError) as error:
            for stored, event in enumerate(listed):  # noqa: B007
                await journal.append("r", event)
        assert "the disk is full" in one_line(error)
        written = (await journal.run("r")).events
        assert 10 < len(written) <= stored, "what was written before can still be read"
        filler.unlink()
        await store(journal, "r", listed[stored + 1 : stored + 6])
        assert (await journal.run("r")).events == listed[: stored + 6]


async def test_a_read_only_folder_is_said(small_disk: Path) -> None:
    make_read_only(small_disk)
    with pytest.raises(JournalError) as error:
        await Journal(small_disk / "journal.sqlite").append("r", events("r")[0])
    assert "can't be written" in one_line(error)


async def test_a_journal_that_became_read_only_is_said(small_disk: Path) -> None:
    async with Journal(small_disk / "journal.sqlite") as journal:
        await store(journal, "r", events("r"))
    make_read_only(small_disk)
    with pytest.raises(JournalError) as error:
        await Journal(small_disk / "journal.sqlite").append("s", events("s")[0])
    assert "can't be written" in one_line(error)


async def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError) as error:
        await Journal(tmp_path / "file" / "journal.sqlite").runs()
    assert "can't be written" in one_line(error)


async def test_a_file_that_is_no_database_is_said_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("Dear diary, " * 100)
    with pytest.raises(JournalError) as error:
        await Journal(path).append("r", events("r")[0])
    assert "not a journal" in one_line(error)
    assert path.read_text().startswith("Dear diary")


async def test_another_programs_database_is_not_written_to(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE history (line TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalError) as error:
        await Journal(path).runs()
    assert "another program" in one_line(error)
    assert path.read_bytes() == before


async def test_a_newer_journal_is_left_alone(path: Path) -> None:
    async with Journal(path) as journal:
        await store(journal, "r", events("r"))
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    other.close()
    with pytest.raises(JournalError) as error:
        await Journal(path).runs()
    assert "newer Cellwright" in one_line(error)


async def test_an_event_of_an_unknown_kind_is_said(journal: Journal, path: Path) -> None:
    await store(journal, "r", events("r"))
    other = sqlite3.connect(path)
    with other:
        (before,) = other.execute("SELECT link FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        body = '{"kind": "dream"}'
        other.execute("INSERT INTO events VALUES ('r', 99, 'dream', 0.0, ?, ?)", (link(before, body), body))
    other.close()
    with pytest.raises(JournalError) as error:
        await journal.run("r")
    assert "Update Cellwright" in one_line(error)


async def test_an_empty_journal_has_no_runs(journal: Journal) -> None:
    assert await journal.runs() == []
    with pytest.raises(JournalError, match="no runs"):
        await journal.latest()


async def test_in_memory_keeps_nothing_on_disk() -> None:
    async with Journal(None) as journal:
        await store(journal, "r", events("r"))
        assert (await journal.run("r")).status == "success"


def test_where_the_journal_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CELLWRIGHT_JOURNAL", raising=False)
    assert default_path() == tmp_path / "cellwright" / "journal.sqlite"
    monkeypatch.setenv("CELLWRIGHT_JOURNAL", str(tmp_path / "mine.sqlite"))
    assert default_path() == tmp_path / "mine.sqlite"
    monkeypatch.setenv("CELLWRIGHT_JOURNAL", "off")
    assert default_path() is None


async def test_the_last_50_of_10000_runs_are_listed_at_once(path: Path) -> None:
    form_1(path, ((f"r{number}", events(f"r{number}", time=number * 60.0)) for number in range(10_000)))
    async with Journal(path) as journal:
        await journal.latest()  # brings it to its new form, once
    begun = time.perf_counter()
    async with Journal(path) as journal:
        assert len(await journal.runs(limit=50)) == 50
        seconds = time.perf_counter() - begun
    print(f"opening and listing 50 of 10,000 runs: {seconds * 1000:.1f} ms")
    assert seconds < 0.1


async def test_a6_runs_of_called_agents_are_found_two_deep(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.sqlite") as journal:
        for run_id, caller in (("a", None), ("b", "a"), ("c", "b"), ("d", "a"), ("e", None)):
            await journal.append(run_id, RunStarted(seq=0, run_id=run_id, conversation=run_id, task="t", caller=caller))
        assert [run.id for run in await journal.called_by("a")] == ["b", "c", "d"]
        assert await journal.called_by("e") == []
