"""The journal can't be written any more while a run goes on: the run ends, says why in one line, and nothing is lost.

It never goes on in memory by itself: that is for a person to say, with `CELLWRIGHT_JOURNAL=off`.
"""

# ruff: noqa: ASYNC240 - a test has the loop to itself

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from cellwright import CodeAgent, ScriptedModel
from cellwright.errors import JournalError
from cellwright.events import ActionFinished, Event, ReplyReceived, RunEnded
from cellwright.journal import Journal
from cellwright.rewind import resume
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from sensible import Sensible

REPLIES = (
    "Go on.\n```python\nx = 1\n```",
    "Go on.\n```python\nx += 1\nprint('y' * 20_000)\n```",
    "Go on.\n```python\nfinal_answer(x)\n```",
)
PROCESS = Isolation(level="process")
LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def agent_with(model: ScriptedModel, journal: Journal, *listeners: Callable[[Event], None]) -> CodeAgent:
    return CodeAgent(model, sandbox=ChildKernel(isolation=PROCESS), journal=journal, listeners=listeners)


def is_first_end(event: Event) -> bool:
    return isinstance(event, ActionFinished) and event.step == 1


@contextmanager
def full_disk(path: Path) -> Iterator[Callable[[Event], None]]:
    """From the end of the first step on, files may not grow: as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(event: Event) -> None:
        if is_first_end(event):
            log = path.with_name(path.name + "-wal")
            resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))

    try:
        yield fill
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def locked(path: Path) -> Iterator[Callable[[Event], None]]:
    """From the end of the first step on, another process keeps the file locked."""
    lockers: list[subprocess.Popen[str]] = []

    def lock(event: Event) -> None:
        if is_first_end(event):
            argv = [sys.executable, "-c", LOCKER, str(path)]
            lockers.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert lockers[0].stdout and lockers[0].stdout.readline() == "locked\n"

    try:
        yield lock
    finally:
        for locker in lockers:
            locker.communicate("")


HARM = {"the disk takes no more": full_disk, "another process keeps it locked": locked}


@pytest.mark.parametrize("what", HARM)
async def test_f4_a_journal_that_can_t_be_written_any_more_ends_the_run_and_it_can_be_gone_on_with(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "journal.sqlite"
    heard: list[Event] = []
    model = ScriptedModel(*REPLIES)
    journal = Journal(path, wait_seconds=0.3)
    async with agent_with(model, journal) as agent:
        with HARM[what](path) as harm:
            agent.listeners += [heard.append, harm]
            run = await agent.run("Count.")
        assert run.status == "failed" and what in run.reason and "\n" not in run.reason
        assert "CELLWRIGHT_JOURNAL" in run.reason and "`off`" in run.reason
        assert isinstance(heard[-1], RunEnded), "everybody hears the end"
        assert len(model.asked) == 2, "no further reply was paid for"
    async with Journal(path) as journal:
        kept = await journal.run(run.id)
    stored = run.events[:-1]
    assert kept.events[: len(stored)] == stored and is_first_end(stored[-1]), "nothing before it is lost"
    (late,) = kept.events[len(stored) :]
    assert isinstance(late, ReplyReceived), "what could not be written was kept, and written at the end"
    again = Sensible(*REPLIES)
    async with agent_with(again, journal := Journal(path)) as agent:
        async with aclosing(resume(agent)) as events:
            assert [event async for event in events]
        last = await journal.run(run.id)
        assert (last.status, last.answer) == ("success", 2), last.reason
        assert last.events[: len(kept.events)] == kept.events and await journal.check(run.id) is None
        assert again.requests + sum(isinstance(event, ReplyReceived) for event in kept.events) == 3


async def test_f4_without_a_journal_no_run_begins_and_off_is_the_way_to_go_on_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CELLWRIGHT_JOURNAL", str(tmp_path / "file" / "journal.sqlite"))

    model = ScriptedModel(*REPLIES)
    with pytest.raises(JournalError, match="its folder can't be written"):  # again, because what waits is lost now
        async with CodeAgent(model, sandbox=ChildKernel(isolation=PROCESS)) as agent:
            refused = await agent.run("Count.")
    assert refused.status == "failed" and not model.asked
    assert "its folder can't be written" in refused.reason and "`off`" in refused.reason and "\n" not in refused.reason
    monkeypatch.setenv("CELLWRIGHT_JOURNAL", "off")
    async with CodeAgent(model, sandbox=ChildKernel(isolation=PROCESS)) as agent:
        done = await agent.run("Count.")
    assert (done.status, done.answer) == ("success", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
