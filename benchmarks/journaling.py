"""What the journal costs: each step while a run goes on, and lists, searches and exports of many runs.

Promised: 3 ms for each step, fsync included, the same after 10,000 events; with 10,000 runs on record, 100 ms to open
the journal and list the last 50, 200 ms to search the text of all. A step is a reply, a proposal, a decision, an
output and an end; three of them wait for the disk, so three bare fsyncs are measured beside it.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TypeVar

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
)
from cellwright.facts import Totals, Usage
from cellwright.journal import Journal
from cellwright.outputs import Stream

from .table import show

T = TypeVar("T")

STEPS = 2000
"""Of five events each."""
RUNS = 10_000
EDGE = 200
"""Steps at the beginning and at the end of the long run that are compared."""
WORDS = """mean median species island mass table column group sort plot file rows weather station rain wind model price
country city year month total average share growth index frame series value count missing outlier axis label region
sales order customer product revenue cost margin trend forecast error residual sample test train split score""".split()
SEARCHES = ("penguin", "rain", "rain station", '"read csv"', "forecast residual walrus", "mean group table column")


def step_events(step: int, words: random.Random) -> Iterator[Event]:
    """One step as the loop emits it."""
    thought = " ".join(words.choices(WORDS, k=40)) + "."
    code = "\n".join(f"{a} = df.groupby('{b}')['{c}'].mean()" for a, b, c in [words.choices(WORDS, k=3)] * 4)
    text = f"{thought}\n```python\n{code}\n```"
    yield ReplyReceived(step=step, text=text, usage=Usage(1000, 120), cost=0.002, seconds=1.0, model="m-2026")
    yield ActionProposed(step=step, thought=thought, code=code)
    yield ActionDecided(step=step, verdict="approved", by="auto", code=code)
    yield Output(step=step, output=Stream("stdout", "\n".join(words.choices(WORDS, k=60))))
    yield ActionFinished(step=step, outcome="ok", seconds=0.1)


def run_events(number: int, steps: int, words: random.Random) -> Iterator[Event]:
    """A whole run."""
    task = " ".join(words.choices(WORDS, k=15)) + (" of penguins" if number % 97 == 0 else "") + "?"
    started = time.time() - (RUNS - number) * 600
    conversation = f"c{number // 3}"
    listed: list[Event] = [RunStarted(run_id=f"r{number}", conversation=conversation, task=task, model="some/model")]
    for step in range(1, steps + 1):
        listed += step_events(step, words)
    listed.append(AnswerGiven(step=steps, data={"text/plain": " ".join(words.choices(WORDS, k=20))}))
    totals = Totals(steps=steps, seconds=9.0, usage=Usage(1000 * steps, 120 * steps), cost=0.002 * steps)
    listed.append(RunEnded(status="success" if number % 9 else "failed", totals=totals))
    yield from (replace(event, seq=seq, time=started + seq) for seq, event in enumerate(listed))


async def measure_journal() -> None:
    """Writing, listing, searching."""
    with tempfile.TemporaryDirectory() as folder:
        await _writing(Path(folder))
        await _reading(Path(folder))


async def _writing(folder: Path) -> None:
    words = random.Random(1)
    times: list[float] = []
    spent: list[float] = []
    async with Journal(folder / "long.sqlite") as journal:
        await journal.append("long", RunStarted(seq=0, run_id="long", conversation="c", task="t", model="m"))
        seq = 1
        for step in range(1, STEPS + 1):
            listed = [replace(e, seq=seq + n, time=time.time()) for n, e in enumerate(step_events(step, words))]
            begun, begun_spent = time.perf_counter(), time.process_time()
            for event in listed:
                await journal.append("long", event)
            times.append(time.perf_counter() - begun)
            spent.append(time.process_time() - begun_spent)
            seq += len(listed)
        exported, _ = await _timed(lambda: journal.record("long"))
    bare = _bare_fsync(folder)
    rows = [
        (name, _ms(median(part)), _ms(sorted(part)[int(len(part) * 0.95)]))
        for name, part in (
            (f"first {EDGE} steps", times[:EDGE]),
            (f"last {EDGE} steps", times[-EDGE:]),
            (f"first {EDGE} steps, of the processor", spent[:EDGE]),
            (f"last {EDGE} steps, of the processor", spent[-EDGE:]),
            ("three bare fsyncs of 4 KB", [3 * one for one in bare]),
        )
    ]
    show(f"Journal: cost of a step, in ms, in a run of {seq:,} events", ("", "median", "95 of 100"), rows)
    show(
        "Journal: the long run with its chain",
        ("", "ms", "of the processor"),
        [(f"reading {seq:,} events, every link computed", *exported)],
    )


async def _reading(folder: Path) -> None:
    path, words = folder / "many.sqlite", random.Random(2)
    async with Journal(path) as journal:
        # While the file is being made nobody waits for the disk.
        await journal._on_thread(lambda: journal._db().execute("PRAGMA synchronous = OFF"))
        for number in range(RUNS):
            for event in run_events(number, 1 + number % 5, words):
                await journal.append(f"r{number}", event)

    async def opened() -> object:
        async with Journal(path) as journal:
            return await journal.runs(limit=50)

    seconds, _ = await _timed(opened)
    rows = [("opening, listing the last 50", *seconds, "50")]
    async with Journal(path) as journal:
        for name, ask in _questions(journal).items():
            seconds, found = await _timed(ask)
            rows.append((name, *seconds, f"{len(found):,}"))
    title = f"Journal: {RUNS:,} runs on record, {path.stat().st_size / 1e6:.0f} MB"
    show(title, ("", "ms", "of the processor", "found"), rows)


def _questions(journal: Journal) -> dict[str, Callable[[], Awaitable[Sequence[object]]]]:
    asked: dict[str, Callable[[], Awaitable[Sequence[object]]]] = {
        "the last 50 that failed": lambda: journal.runs(limit=50, status="failed"),
        "those that cost $1 or more (none)": lambda: journal.runs(limit=50, min_cost=1.0),
        "those of a model (none)": lambda: journal.runs(limit=50, model="other"),
        "cost of each model and day": journal.stats,
    }
    for text in SEARCHES:
        asked[f"search: {text}"] = lambda text=text: journal.search(text)  # type: ignore[misc]
    return asked


async def _timed(ask: Callable[[], Awaitable[T]]) -> tuple[tuple[str, str], T]:
    """Median of five times, by the clock and of the processor, and the answer."""
    seconds, spent = [], []
    for _ in range(5):
        begun, begun_spent = time.perf_counter(), time.process_time()
        answer = await ask()
        seconds.append(time.perf_counter() - begun)
        spent.append(time.process_time() - begun_spent)
    return (_ms(median(seconds)), _ms(median(spent))), answer


def _bare_fsync(folder: Path) -> list[float]:
    seconds = []
    with (folder / "bare").open("wb") as file:
        for _ in range(300):
            begun = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begun)
    return seconds


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
