"""What the audit trail costs: an export, and a check with everything run again.

Promised: a run of 1,000 steps exported in 1.5 s, and a notebook of 20 steps verified in the time that its code takes to
run again, and 1 s. To run again means here: a fresh isolated sandbox, all actions in it, its end; verify does the same
and, besides, reads the notebook, checks every link, makes the notebook anew and compares outputs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

from cellwright import CodeAgent, Limits, ScriptedModel
from cellwright.events import AnswerGiven, Event, RunEnded, RunStarted
from cellwright.facts import Totals
from cellwright.journal import Journal
from cellwright.lineage import holding
from cellwright.notebook.conversation import write_export
from cellwright.notebook.verify import fresh_sandbox, verify
from cellwright.rebuild import rebuild
from cellwright.run import Run
from cellwright.settings import Settings

from .journaling import step_events
from .table import show

STEPS = 1000
"""Of the run that is exported."""
VERIFIED = 20
"""Steps of the run that is verified."""
ROUNDS = 5
ACTIONS = (
    "import pandas as pd, numpy as np\n"
    "df = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 4)), columns=list('abcd'))",
    "print(df.describe())",
    "df.groupby(df.a > 0).mean()",
    "import matplotlib.pyplot as plt\nplt.plot(df.b.cumsum()); plt.show()",
    "sum(range(100_000))",
)


async def measure_audit() -> None:
    """Export and verify."""
    with tempfile.TemporaryDirectory() as folder:
        await _exporting(Path(folder))
        await _verifying(Path(folder))


async def _exporting(folder: Path) -> None:
    words = Random(1)
    async with Journal(folder / "long.sqlite") as journal:
        events: list[Event] = [RunStarted(run_id="long", conversation="c", task="t", model="m")]
        events += [event for step in range(1, STEPS + 1) for event in step_events(step, words)]
        events += [AnswerGiven(step=STEPS, data={"text/plain": "1"}), RunEnded(status="success", totals=Totals())]
        for seq, event in enumerate(events):
            await journal.append("long", replace(event, seq=seq, time=1000.0 + seq))
        run = await journal.run("long")
        rows = []
        for name, how in (("notebook", {}), ("report", {"report": True}), ("page", {"html": True})):
            target = folder / f"long.{'html' if how.get('html') else 'ipynb'}"

            export = partial(write_export, journal, run, target, **how)
            rows.append((name, *await _timed(export), f"{target.stat().st_size / 1e6:.1f}"))
    title = f"Export of a run of {STEPS:,} steps, {len(events):,} events, out of the journal; promised: 1.5 s"
    show(title, ("", "s", "of the processor", "MB"), rows)


async def _verifying(folder: Path) -> None:
    path = folder / "audit.ipynb"
    journal = Journal(folder / "short.sqlite")
    replies = [f"Go.\n```python\n{ACTIONS[step % len(ACTIONS)]}\n```" for step in range(VERIFIED - 1)]
    model = ScriptedModel(*replies, "Done.\n```python\nfinal_answer(len(df))\n```")
    make = fresh_sandbox(Settings(), ())
    async with CodeAgent(model, sandbox=make("python3"), journal=journal, limits=Limits(steps=VERIFIED)) as agent:
        run = await agent.run("Work.")
        await write_export(journal, run, path)
    again: list[float] = []
    checked: list[float] = []
    only: list[float] = []
    for _ in range(ROUNDS):  # in turn: a busy machine slows both
        again.append(await _seconds(lambda: _run_again(run, folder)))
        checked.append(await _seconds(lambda: verify(path, make)))
        only.append(await _seconds(lambda: verify(path, None)))
    command = await _seconds(lambda: _as_command(path))
    more = [one - other for one, other in zip(checked, again, strict=True)]
    rows = [
        ("running it again, in a fresh sandbox", f"{median(again):.2f}"),
        ("verify", f"{median(checked):.2f}"),
        ("verify, more than running it again", f"{median(more):.2f}"),
        ("verify --no-run", f"{median(only):.2f}"),
        ("`cellwright verify` as a command, once", f"{command:.2f}"),
    ]
    found = await verify(path, make)
    show(
        f"Verify of a run of {len(run.steps)} steps: {found.verdict.name.lower()}; promised: 1 s more", ("", "s"), rows
    )


async def _run_again(run: Run, folder: Path) -> None:
    sandbox = fresh_sandbox(Settings(), ())("python3")
    try:
        await sandbox.start()
        await rebuild(sandbox, holding([run]), folder)
    finally:
        await sandbox.close()


async def _as_command(path: Path) -> None:
    words = ("-c", "from cellwright.cli import main; main()", "verify", str(path), "--json")
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.DEVNULL)
    await process.wait()


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def _timed(work: Callable[[], Awaitable[object]]) -> tuple[str, str]:
    """Median of some rounds, by the clock and of the processor."""
    seconds, spent = [], []
    for _ in range(ROUNDS):
        begun, begun_spent = time.perf_counter(), time.process_time()
        await work()
        seconds.append(time.perf_counter() - begun)
        spent.append(time.process_time() - begun_spent)
    return f"{median(seconds):.2f}", f"{median(spent):.2f}"
