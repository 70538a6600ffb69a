"""How long a stop takes, from `agent.stop()` until the run has ended, whatever is going on; and what is left of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from statistics import median

from cellwright import CodeAgent, Limits, ScriptedModel, tool
from cellwright.events import ActionDecided, ReplyDelta, RunEnded
from cellwright.models.base import Message, Model, ReplyPart, Sampling, Text

from .table import show

ROUNDS = 3


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


async def measure_stop() -> None:
    """Stop a run in the middle of a reply, a loop, a sleep, an `input()` and a tool call."""
    cases: dict[str, Model] = {
        "the model's stream": EndlessModel(""),
        "a busy loop": code("while True:\n    pass"),
        "a sleep": code("import time\ntime.sleep(60)"),
        "input()": code("input('name? ')"),
        "a tool of the host": code("slow(60)"),
    }
    rows = []
    for name, model in cases.items():
        stops, usable, kept = [], [], True
        for _ in range(ROUNDS):
            stopped, again, still_there = await stop_once(model)
            stops.append(stopped)
            usable.append(again)
            kept = kept and still_there
        rows.append([name, ms(median(stops)), ms(max(stops)), ms(median(usable)), "yes" if kept else "NO"])
    head = ["in", "median ms", "longest ms", "then next code after ms", "variables kept"]
    show(f"Stop, {ROUNDS} times each (target: under 500 ms)", head, rows)


async def stop_once(model: Model) -> tuple[float, float, bool]:
    """Seconds of the stop, seconds of the next code run by hand, and whether variables are still there."""
    limits = Limits(reply_tokens=None)
    async with CodeAgent(model, tools=[slow], limits=limits, journal=None, on_input=nobody_types) as agent:
        await agent.run_by_hand("kept = 41")
        begun = 0.0
        async with aclosing(agent.stream("Go on for ever.")) as events:
            async for event in events:
                if not begun and isinstance(event, ActionDecided | ReplyDelta) and is_under_way(event, model):
                    await asyncio.sleep(0.5)  # the code, too, is in the middle of it now
                    begun = time.perf_counter()
                    agent.stop()
                elif isinstance(event, RunEnded):
                    assert event.status == "interrupted", event
        stopped = time.perf_counter() - begun
        begun = time.perf_counter()
        after = await agent.run_by_hand("print(kept + 1)")
        return stopped, time.perf_counter() - begun, after.steps[-1].text == "42"


def is_under_way(event: ActionDecided | ReplyDelta, model: Model) -> bool:
    """True when `event` says that what is to be stopped has begun."""
    return isinstance(event, ReplyDelta) == isinstance(model, EndlessModel)


def code(text: str) -> ScriptedModel:
    """A model that writes this code."""
    return ScriptedModel(f"I do it.\n```python\n{text}\n```")


def ms(seconds: float) -> str:
    """Milliseconds, for a table."""
    return f"{seconds * 1000:.0f}"
