"""What a step costs when the model costs nothing: with sandbox and journal on disk, and our own part of it.

A step is counted from one request of the model to the next. Our own part is the step without the time in the sandbox,
but with the time in the callbacks that the sandbox awaits. It must not grow with the length of the run. smolagents is
measured the same way, in the same process; the time in its own interpreter is left out of its own part. What other
jobs of the machine cost is in every time but the processor's: where they are many, read growth from that row.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from cellwright import CodeAgent, Limits
from cellwright.facts import Usage
from cellwright.journal import Journal
from cellwright.models.base import Message, ReplyEnd, ReplyPart, Sampling, Text
from cellwright.outputs import CellOutput
from cellwright.sandbox.base import Call, Callbacks, CallResult, Execution
from cellwright.sandbox.child import ChildKernel

from .table import show

T = TypeVar("T")

STEPS = 1000
RIVAL_STEPS = 300
CODE = "x = 6 * 7\nprint('x is', x)"
REPLY = f"Thought: I compute it.\n```python\n{CODE}\n```"
RIVAL_REPLY = f"Thought: I compute it.\n<code>\n{CODE}\n</code>"


class NoLatency:
    """A model that answers at once, and notes when it was asked."""

    name = "no-latency"
    examples: Sequence[Message] = ()

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.spent: list[float] = []
        """Seconds of processor time of this process, at the same moments."""

    def warm_up(self) -> None:
        """Nothing to do."""

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The one reply it knows; the answer after enough of them."""
        self.asked.append(time.perf_counter())
        self.spent.append(time.process_time())
        yield Text(REPLY if len(self.asked) <= STEPS else "Done.\n```python\nfinal_answer(42)\n```")
        yield ReplyEnd(Usage(1000, 40), 0.0, self.name)

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        """Nothing is counted."""
        return Usage(), 0.0

    async def aclose(self) -> None:
        """Nothing to release."""


class TimedKernel(ChildKernel):
    """A child kernel that notes how long each `run` took, without what it waited for us."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[float] = []
        self._ours = 0.0

    async def run(self, code: str, callbacks: Callbacks, seconds: float | None = None) -> Execution:
        """Run and note the time."""
        self._ours, began = 0.0, time.perf_counter()

        async def on_output(output: CellOutput) -> None:
            await self._counted(callbacks.on_output(output))

        async def on_call(call: Call) -> CallResult:
            return await self._counted(callbacks.on_call(call))

        try:
            return await super().run(code, Callbacks(on_output, on_call, callbacks.on_input), seconds)
        finally:
            self.taken.append(time.perf_counter() - began - self._ours)

    async def _counted(self, waiting: Awaitable[T]) -> T:
        began = time.perf_counter()
        try:
            return await waiting
        finally:
            self._ours += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Steps:
    """Seconds of each step, of its time in the sandbox or the interpreter, and of this process's processor."""

    whole: Sequence[float]
    inside: Sequence[float]
    processor: Sequence[float]

    @property
    def own(self) -> Sequence[float]:
        """What is not spent inside."""
        return [step - inside for step, inside in zip(self.whole, self.inside, strict=False)]


async def measure_steps() -> None:
    """One run of 1,000 steps of ours, one of 300 of smolagents'; early and late steps compared."""
    began = os.getloadavg()[0]
    ours = await our_steps()
    rows = rows_of("Cellwright", ours, STEPS)
    ratios = ""
    if find_spec("smolagents"):
        rival = rival_steps()
        rows += rows_of("smolagents", rival, RIVAL_STEPS)
        early, late = (median(ten(ours.own, STEPS)[n]) / median(ten(rival.own, RIVAL_STEPS)[n]) for n in (0, 1))
        ratios = f"Own part, Cellwright / smolagents: {early:.2f} early; {late:.2f} late."
    head = ["ms, median (fastest)", "of steps", "steps 11-20", "the last ten", "late / early", "fastest"]
    show("Cost of a step with a model that costs nothing (target: own part 10 ms, late / early 1.2)", head, rows)
    print(f"The run of smolagents ends after {RIVAL_STEPS} steps: its cost grows, ours is to be compared at {STEPS:,}.")
    print(f"The processor's time is this process's; that of our sandbox is in another. {ratios}")
    print(f"Load {began:.1f} before, {os.getloadavg()[0]:.1f} after.", flush=True)


def rows_of(name: str, steps: Steps, length: int) -> list[list[str]]:
    """The rows of the table."""
    return [
        row(f"{name}, whole step", steps.whole, length),
        row(f"{name}, own part", steps.own, length),
        row(f"{name}, processor", steps.processor, length),
    ]


def row(name: str, steps: Sequence[float], length: int) -> list[str]:
    """Steps 11 to 20 and the last ten of `length`: median and fastest in ms, and late by early of both."""
    early, late = ten(steps, length)
    shown = [f"{median(times) * 1000:.2f} ({min(times) * 1000:.2f})" for times in (early, late)]
    # The fastest, too: another job on the machine can slow ten steps in a row, but hardly all of them.
    return [name, f"{length:,}", *shown, f"{median(late) / median(early):.2f}", f"{min(late) / min(early):.2f}"]


def ten(steps: Sequence[float], length: int) -> tuple[Sequence[float], Sequence[float]]:
    """Steps 11 to 20, and the last ten of `length`."""
    return steps[10:20], steps[length - 10 : length]


async def our_steps() -> Steps:
    """A run of ours, to its end."""
    model, sandbox = NoLatency(), TimedKernel()
    lifted = Limits(steps=None, seconds=None, tokens=None, cost=None)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        async with CodeAgent(model, sandbox=sandbox, limits=lifted, journal=journal) as agent:
            run = await agent.run("Go on.")
        assert run.status == "success" and len(run.steps) == STEPS + 1, run
    return Steps(differences(model.asked), sandbox.taken, differences(model.spent))


def rival_steps() -> Steps:
    """The same of smolagents; the time in its interpreter instead of the sandbox."""
    import smolagents

    asked: list[float] = []
    spent: list[float] = []
    interpreted: list[float] = []

    class Instant(smolagents.Model):  # type: ignore[misc]
        def generate(self, messages: Any, **_: Any) -> Any:
            asked.append(time.perf_counter())
            spent.append(time.process_time())
            usage = smolagents.monitoring.TokenUsage(1000, 40)
            return smolagents.ChatMessage(role="assistant", content=RIVAL_REPLY, token_usage=usage)

    agent = smolagents.CodeAgent([], Instant(model_id="instant"), max_steps=RIVAL_STEPS, verbosity_level=-1)
    agent.python_executor = timed(agent.python_executor, interpreted)
    for number, _ in enumerate(agent.run("Go on.", stream=True), 1):
        if len(asked) > RIVAL_STEPS or number > RIVAL_STEPS * 10:
            break
    return Steps(differences(asked), interpreted, differences(spent))


def timed(executor: Any, taken: list[float]) -> Any:
    """The executor, with the seconds of each call noted."""
    kind = type(executor)

    def call(self: Any, code: str) -> Any:
        began = time.perf_counter()
        try:
            return kind.__call__(self, code)
        finally:
            taken.append(time.perf_counter() - began)

    executor.__class__ = type("Timed", (kind,), {"__call__": call})
    return executor


def differences(times: Sequence[float]) -> list[float]:
    """From each to the next."""
    return [after - before for before, after in pairwise(times)]
