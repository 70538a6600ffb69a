"""How long a stop takes, from `agent.stop()` until the run has ended, whatever is going on; and what is left of it.

A run that has called managed agents ends when they have: their runs must have ended as interrupted by then, too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import median

from cellwright import CodeAgent, Limits, ScriptedModel, ToolCallingAgent, tool
from cellwright.events import ActionDecided, Event, Nested, ReplyDelta, RunEnded
from cellwright.models.base import Message, Model, ReplyPart, Sampling, Text

from .table import show

ROUNDS = 3
LIMITS = Limits(reply_tokens=None)
HELPERS = [f"helper_{number}" for number in range(10)]


class EndlessModel(ScriptedModel):
    """A model that never comes to an end."""

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """Words, one every 10 ms."""
        while True:
            await asyncio.sleep(0.01)
            yield Text("and ")


@tool
async def slow(seconds: float) -> str:
    """Wait.

    Args:
        seconds: how long.
    """
    await asyncio.sleep(seconds)
    return "done"


async def nobody_types(prompt: str, hidden: bool) -> str:
    """A person who was asked for input and does not answer."""
    await asyncio.Event().wait()
    return ""


def begun_by(kind: type[Event]) -> Callable[[Event], str]:
    """The sign that something is under way: an event of the agent itself."""
    return lambda event: "agent" if isinstance(event, kind) else ""


def begun_below(kind: type[Event]) -> Callable[[Event], str]:
    """The same of a managed agent: its name."""
    return lambda event: event.agent if isinstance(event, Nested) and isinstance(event.event, kind) else ""


def code(text: str) -> ScriptedModel:
    """A model that writes this code."""
    return ScriptedModel(f"I do it.\n```python\n{text}\n```")


def helper(model: Model) -> CodeAgent:
    """A managed code agent."""
    return CodeAgent(model, limits=LIMITS, name="helper", description="Helps.")


def ten() -> list[CodeAgent]:
    """Ten managed agents that write without end; they run no code, so they need no kernels."""
    return [ToolCallingAgent(EndlessModel(""), limits=LIMITS, name=name, description="Helps.") for name in HELPERS]


ALL_TEN = (
    "from concurrent.futures import ThreadPoolExecutor\n"
    f"with ThreadPoolExecutor(10) as pool:\n    list(pool.map(lambda ask: ask('Go.'), [{', '.join(HELPERS)}]))"
)


@dataclass(frozen=True)
class Case:
    """What is going on when the stop comes."""

    model: Model
    sign: Callable[[Event], str]
    """Event -> who has begun what is to be stopped; empty for another event."""
    helpers: Callable[[], Sequence[CodeAgent]] = field(default=list)
    begun: int = 1
    """So many must have begun."""


CASES = {
    "the model's stream": Case(EndlessModel(""), begun_by(ReplyDelta)),
    "a busy loop": Case(code("while True:\n    pass"), begun_by(ActionDecided)),
    "a sleep": Case(code("import time\ntime.sleep(60)"), begun_by(ActionDecided)),
    "input()": Case(code("input('name? ')"), begun_by(ActionDecided)),
    "a tool of the host": Case(code("slow(60)"), begun_by(ActionDecided)),
    "in a managed agent's model stream": Case(
        code("helper('Go.')"), begun_below(ReplyDelta), lambda: [helper(EndlessModel(""))]
    ),
    "in a managed agent's code": Case(
        code("helper('Go.')"), begun_below(ActionDecided), lambda: [helper(code("import time\ntime.sleep(60)"))]
    ),
    "in the streams of ten managed agents": Case(code(ALL_TEN), begun_below(ReplyDelta), ten, begun=10),
}


async def measure_stop() -> None:
    """Stop a run in the middle of each case."""
    rows = []
    for name, case in CASES.items():
        stops, usable, kept = [], [], True
        for _ in range(ROUNDS):
            stopped, again, still_there = await stop_once(case)
            stops.append(stopped)
            usable.append(again)
            kept = kept and still_there
        rows.append([name, ms(median(stops)), ms(max(stops)), ms(median(usable)), "yes" if kept else "NO"])
    head = ["in", "median ms", "longest ms", "then next code after ms", "variables kept"]
    show(f"Stop, {ROUNDS} times each (target: under 500 ms)", head, rows)
    print(f"Load {os.getloadavg()[0]:.1f}.", flush=True)


async def stop_once(case: Case) -> tuple[float, float, bool]:
    """Seconds of the stop, seconds of the next code run by hand, and whether variables are still there."""
    begun, ended, stopping = set[str](), list[RunEnded](), 0.0
    async with CodeAgent(
        case.model, tools=[slow], managed_agents=case.helpers(), limits=LIMITS, journal=None, on_input=nobody_types
    ) as agent:
        await agent.run_by_hand("kept = 41")
        async with aclosing(agent.stream("Go on for ever.")) as events:
            async for event in events:
                begun.add(case.sign(event))
                if not stopping and len(begun - {""}) == case.begun:
                    await asyncio.sleep(0.5)  # the code, too, is in the middle of it now
                    stopping = time.perf_counter()
                    agent.stop()
                below = event.event if isinstance(event, Nested) else event
                ended += [below] if isinstance(below, RunEnded) else []
        stopped = time.perf_counter() - stopping
        below_too = len(begun - {"", "agent"})
        assert [end.status for end in ended] == ["interrupted"] * (1 + below_too), ended
        again = time.perf_counter()
        after = await agent.run_by_hand("print(kept + 1)")
        return stopped, time.perf_counter() - again, after.steps[-1].text == "42"


def ms(seconds: float) -> str:
    """Milliseconds, for a table."""
    return f"{seconds * 1000:.0f}"
