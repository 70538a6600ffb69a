"""Killed at a random moment, and gone on with: nothing that was finished is lost, nothing is done twice.

Each of 200 runs has a task of its own, made by Hypothesis: steps that count, print, call a tool, write a file, fail,
are refused, or hold no code, on a value that was put in, in any order. At every event, and inside every call of a tool,
the journal's files are copied as a power cut would leave them (with fsync honoured): the database, and the log as long
as it was then. One of these moments is drawn, sometimes with a piece of the next write behind it, torn off anywhere;
from it a new agent in an empty sandbox resumes.

Kernels are real ones; each is emptied and used again some times, else half of the time would go into starting them.
Measured on 2 busy cores: 122 s for 200 runs, 80 s of them CPU time.
"""

# ruff: noqa: ASYNC240 - a test has the loop to itself

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import nbformat
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from cellwright import CodeAgent, Limits, tool
from cellwright.events import ActionFinished, ActionProposed, Event, Output, ReplyReceived, RunResumed, RunStarted
from cellwright.journal import Journal
from cellwright.notebook.export import notebook
from cellwright.notebook.inspection import inspect
from cellwright.rewind import resume
from cellwright.run import Run
from cellwright.sandbox.base import AtHand, Call, Callbacks, CallResult, Raised
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.sandbox.none import NoSandbox
from sensible import Sensible

RUNS = 200
USES = 8
"""So often a kernel is used."""
PROCESS = Isolation(level="process")
KINDS = ("count", "print", "call", "call twice", "write", "fail", "refused", "prose")


# ---- the task -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Script:
    """A task: what it starts from, and its steps."""

    kinds: tuple[str, ...]
    start: int | None
    """A value that is put in; None: the first step begins with 0."""

    @property
    def replies(self) -> list[str]:
        """What the model says, step by step."""
        begin = f"total = {'0' if self.start is None else 'start'}"
        parts = {
            "count": "total += 1",
            "print": "print('total is', total)",
            "call": "total += measure({n}, 10)",
            "call twice": "total += measure({n}, 10) + measure({n}, 20)\nprint(total)",
            "write": "with open('notes.txt', 'a') as notes:\n    notes.write('a line\\n')",
            "fail": "total += 100\nprint('before')\nraise ValueError('step {n}')",
            "refused": "forbidden = {n}",
        }
        codes = [begin, *(parts[kind].format(n=n) if kind in parts else "" for n, kind in enumerate(self.kinds, 2))]
        codes.append("import os\nlines = len(open('notes.txt').readlines()) if os.path.exists('notes.txt') else 0")
        codes[-1] += "\nfinal_answer([total, lines])"
        return [f"Go on.\n```python\n{code}\n```" if code else "Let me think about it." for code in codes]

    @property
    def answer(self) -> list[int]:
        """The right one."""
        worth = {"count": 1, "call": 10, "call twice": 30, "fail": 100}
        return [(self.start or 0) + sum(worth.get(kind, 0) for kind in self.kinds), self.kinds.count("write")]


scripts = st.builds(
    Script,
    # Three replies in a row without code end a run, as they should; here it is to get its answer.
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).filter(lambda steps: steps.count("prose") < 3).map(tuple),
    st.none() | st.integers(1, 1000),
)


def no_forbidden(code: str, task: str, at_hand: AtHand) -> str | None:
    """A policy that refuses a step."""
    return "That is forbidden here." if "forbidden" in code else None


# ---- the moments at which it may be killed --------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """What a power cut leaves."""

    what: str
    database: bytes
    log: bytes
    durable: int
    """So many events were on the disk for certain."""
    calls: int
    """So many calls of tools had been made."""


@dataclass
class World:
    """What is outside of agent and sandbox: the disk, and a device that counts how often it is used."""

    path: Path
    calls: list[int] = field(default_factory=list)
    """Of each call, for which step it was."""
    moments: list[Moment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    durable: int = 0

    def heard(self, event: Event) -> None:
        """A listener: the event has just been stored."""
        if event.is_live:
            return
        self.events.append(event)
        if not isinstance(event, Output | ActionProposed):  # those wait for the next one
            self.durable = len(self.events)
        self.copy(f"after {event}")

    def copy(self, what: str) -> None:
        """The files as they are now."""
        log = self.path.with_name(self.path.name + "-wal")
        self.moments.append(Moment(what, self.path.read_bytes(), log.read_bytes(), self.durable, len(self.calls)))

    def agent(self, script: Script, sandbox: Any, journal: Journal) -> CodeAgent:
        """An agent in this world."""

        @tool
        async def measure(step: int, value: int) -> int:
            """Use the device."""
            self.calls.append(step)
            self.copy("inside a call")
            return value

        return CodeAgent(
            Sensible(*script.replies, piece=1 << 20),
            sandbox=sandbox,
            journal=journal,
            tools=[measure],
            guards=[no_forbidden],
            listeners=[self.heard],
            limits=Limits(steps=30),
        )


# ---- kernels --------------------------------------------------------------------------------------------------------


class Place(NoSandbox):
    """Where an agent's sandbox would be, had it not been killed: the next one is `fresh`."""

    def __init__(self, fresh: ChildKernel) -> None:
        super().__init__()
        self.fresh = fresh

    def another(self) -> Any:
        """The fresh one."""
        return self.fresh


class Kernels:
    """Kernels without variables and files; the next new one is started while the present example is under way."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, 0
        self._warm: asyncio.Task[ChildKernel] | None = None
        self._free: list[ChildKernel] = []
        self._uses: dict[ChildKernel, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self) -> ChildKernel:
        """One for a run."""
        self._warm = self._warm or asyncio.create_task(self._start())
        if self._free:
            kernel = self._free.pop()
        else:
            kernel, self._warm = await self._warm, asyncio.create_task(self._start())
        self._uses[kernel] = self._uses.get(kernel, 0) + 1
        return kernel

    async def give_back(self, kernel: ChildKernel) -> None:
        """Empty it, or, after some uses, end it in the background."""
        if self._uses[kernel] < USES:
            for path in kernel.workspace.iterdir():
                path.unlink()
            await kernel.run("%reset -f", Callbacks(_nothing_shown, _no_tool))
            self._free.append(kernel)
            return
        task = asyncio.create_task(kernel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """End them all."""
        if self._warm:
            self._free.append(await self._warm)
        await asyncio.gather(*(kernel.close() for kernel in {*self._free, *self._uses}), *self._closing)

    async def _start(self) -> ChildKernel:
        self._made += 1
        folder = self._folder / f"kernel-{self._made}"
        folder.mkdir()
        kernel = ChildKernel(workspace=folder, isolation=PROCESS)
        await kernel.start()
        return kernel


async def _nothing_shown(output: object) -> None:
    raise AssertionError(f"an emptied kernel shows nothing, but: {output}")


async def _no_tool(call: Call) -> CallResult:
    return Raised(f"there is no {call.name} here")


# ---- the property ---------------------------------------------------------------------------------------------------


def test_f4_killed_at_a_random_moment_no_finished_step_is_lost(tmp_path: Path) -> None:
    killed_at: Counter[str] = Counter()
    with asyncio.Runner() as runner:
        kernels = Kernels(tmp_path)

        # A failing example is not made smaller: every try would cost seconds.
        @settings(max_examples=RUNS, deadline=None, database=None, phases=[Phase.generate])
        @given(scripts, st.integers(0, 1 << 20), st.none() | st.floats(0, 1, exclude_max=True))
        def killed(script: Script, when: int, torn: float | None) -> None:
            folder = Path(mkdtemp(dir=tmp_path))  # a new one for each try, as an example may be tried again
            world = World(folder / "before.sqlite")
            runner.run(_whole(world, script, kernels))
            place = when % (len(world.moments) - 1)
            moment = world.moments[place]
            note(moment.what)
            killed_at[moment.what.partition("(")[0]] += 1
            if torn is not None:
                more = world.moments[place + 1].log[len(moment.log) :]
                moment = replace(moment, log=moment.log + more[: int(len(more) * torn)])
            runner.run(_resumed(folder / "after.sqlite", world, script, moment, kernels))

        try:
            killed()
        finally:
            runner.run(kernels.aclose())
    assert killed_at.total() >= RUNS and len(killed_at) > 8, f"the moments are of many kinds: {killed_at}"


async def _whole(world: World, script: Script, kernels: Kernels) -> None:
    """The run as it goes when nobody kills it."""
    kernel = await kernels.take()
    async with Journal(world.path) as journal:
        agent = world.agent(script, kernel, journal)
        values = {} if script.start is None else {"start": script.start}
        run = await agent.run("Measure.", additional_args=values)
    assert (run.status, run.answer) == ("success", script.answer), run.reason
    assert run.events == world.events
    await kernels.give_back(kernel)


async def _resumed(path: Path, world: World, script: Script, moment: Moment, kernels: Kernels) -> None:
    """From what was on the disk at that moment, to the end; and what must be true then."""
    path.write_bytes(moment.database)
    path.with_name(path.name + "-wal").write_bytes(moment.log)
    del world.calls[moment.calls :]
    kernel = await kernels.take()
    async with Journal(path) as journal:
        kept = (await journal.latest()).events
        assert kept == world.events[: len(kept)] and len(kept) >= moment.durable, "what was durable is there"
        done = Run(kept)
        after = World(path, calls=world.calls)
        agent = after.agent(script, Place(kernel), journal)
        async with aclosing(resume(agent)) as events:
            async for _ in events:
                pass
        run = await journal.run(done.id)
        assert run.events[: len(kept)] == kept and run.events[len(kept) :] == after.events
        assert await journal.check(run.id) is None, "the chain is whole"
        made = notebook(await journal.records(agent.conversation))
    await kernels.give_back(kernel)
    nbformat.validate(made)
    assert inspect(json.loads(nbformat.writes(made))).changes == []  # type: ignore[no-untyped-call]
    if script.start is not None and len(kept) == 1 and isinstance(kept[0], RunStarted):
        assert run.status == "failed" and "before start was on record" in run.reason and not run.steps
        return
    assert (run.status, run.answer) == ("success", script.answer), run.reason
    assert sum(isinstance(event, RunResumed) for event in run.events) == 1
    _nothing_twice(script, done, run, agent, world.calls)


def _nothing_twice(script: Script, done: Run, run: Run, agent: CodeAgent, calls: Sequence[int]) -> None:
    """No reply was asked for twice, and no call made twice, but those of the step that was under way."""
    lost = [event.step for event in run.events if isinstance(event, ActionFinished) and event.outcome == "interrupted"]
    assert len(lost) <= 1
    replies = [event for event in run.events if isinstance(event, ReplyReceived)]
    assert len(replies) == len(script.replies) + len(lost)
    assert isinstance(agent.model, Sensible) and agent.model.requests == len(replies) - sum(
        isinstance(event, ReplyReceived) for event in done.events
    )
    finished = {step.number for step in done.steps if step.finished}
    assert finished.isdisjoint(lost), "what was finished is not lost"
    for number, kind in enumerate(script.kinds, 2):
        once = {"call": 1, "call twice": 2}.get(kind, 0)
        assert once <= calls.count(number) <= (2 * once if number in lost else once), (number, kind, calls)
