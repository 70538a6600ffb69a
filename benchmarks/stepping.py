"""What a step costs when the model costs nothing: with sandbox and journal on disk, and our own part of it.

A step is counted from one request of the model to the next. Our own part is the step without the time in the sandbox,
but with the time in the callbacks that the sandbox awaits. It must not grow with the length of the run. smolagents is
measured the same way, in the same process; the time in its own interpreter is left out of its own part.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
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

STEPS = 500
RIVAL_STEPS = 200
CODE = "x = 6 * 7\nprint('x is', x)"
REPLY = f"Thought: I compute it.\n```python\n{CODE}\n```"
RIVAL_REPLY = f"Thought: I compute it.\n<code>\n{CODE}\n</code>"


class NoLatency:
    """A model that answers at once, and notes when it was asked."""

    name = "no-latency"
    examples: Sequence[Message] = ()

    def __init__(self) -> None:
        self.asked: list[float] = []

    def warm_up(self) -> None:
        """Nothing to do."""

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The one reply it knows; the answer after enough of them."""
        self.asked.append(time.perf_counter())
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


async def measure_steps() -> None:
    """One run of 500 steps of ours, one of 200 of smolagents'; early and late steps compared."""
    whole, sandboxed = await our_steps()
    own = [step - inside for step, inside in zip(whole, sandboxed, strict=False)]
    rows = [
        ["Cellwright, whole step", *early_and_late(whole, 11, 491)],
        ["Cellwright, own part", *early_and_late(own, 11, 491)],
    ]
    ratios = ""
    if find_spec("smolagents"):
        rival, interpreted = rival_steps()
        rival_own = [step - inside for step, inside in zip(rival, interpreted, strict=False)]
        rows += [
            ["smolagents, whole step", *early_and_late(rival, 11, 191)],
            ["smolagents, own part", *early_and_late(rival_own, 11, 191)],
        ]
        early = median(own[10:20]) / median(rival_own[10:20])
        late = median(own[490:500]) / median(rival_own[190:200])
        ratios = f"Own part, Cellwright / smolagents: {early:.2f} early; {late:.2f} late (step 491 to their step 191)."
    head = ["median (fastest) of ten steps, ms", "steps 11-20", "steps 491-500 (191-200)", "late / early, fastest"]
    show("Cost of a step with a model that costs nothing", head, rows)
    print(ratios, flush=True)


def early_and_late(steps: Sequence[float], early: int, late: int) -> list[str]:
    """The ten steps from `early` and from `late` on: median and fastest in ms, and the ratio of the fastest."""
    ten = [steps[start - 1 : start + 9] for start in (early, late)]
    shown = [f"{median(times) * 1000:.2f} ({min(times) * 1000:.2f})" for times in ten]
    # The fastest, because another job on the machine can slow ten steps in a row, but hardly all of them.
    return [*shown, f"{min(ten[1]) / min(ten[0]):.2f}"]


async def our_steps() -> tuple[list[float], list[float]]:
    """Seconds of each step, and of its time in the sandbox."""
    model, sandbox = NoLatency(), TimedKernel()
    lifted = Limits(steps=None, seconds=None, tokens=None, cost=None)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        async with CodeAgent(model, sandbox=sandbox, limits=lifted, journal=journal) as agent:
            run = await agent.run("Go on.")
        assert run.status == "success" and len(run.steps) == STEPS + 1, run
    return differences(model.asked), sandbox.taken


def rival_steps() -> tuple[list[float], list[float]]:
    """The same of smolagents; the time in its interpreter instead of the sandbox."""
    import smolagents

    asked: list[float] = []
    interpreted: list[float] = []

    class Instant(smolagents.Model):  # type: ignore[misc]
        def generate(self, messages: Any, **_: Any) -> Any:
            asked.append(time.perf_counter())
            usage = smolagents.monitoring.TokenUsage(1000, 40)
            return smolagents.ChatMessage(role="assistant", content=RIVAL_REPLY, token_usage=usage)

    agent = smolagents.CodeAgent([], Instant(model_id="instant"), max_steps=RIVAL_STEPS, verbosity_level=-1)
    agent.python_executor = timed(agent.python_executor, interpreted)
    for number, _ in enumerate(agent.run("Go on.", stream=True), 1):
        if len(asked) > RIVAL_STEPS or number > RIVAL_STEPS * 10:
            break
    return differences(asked), interpreted


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
