"""Managed agents: an agent that another one calls like a tool.

It has its own memory, its own sandbox and its own run on record; each call begins a new chat. What it spends counts
against its caller's limits, what it does is shown nested, and a stop of the caller ends it too. Calls at the same time
are done by copies that share nothing.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import ToolCallError, ToolDefinitionError
from .events import Event, Nested
from .facts import Totals, Usage
from .identity import new_id
from .limits import Limits
from .loop import CURRENT
from .run import Run
from .tools import Tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .agent import CodeAgent
    from .loop import Work


def managed(agent: CodeAgent) -> Tool:
    """The agent as a tool of its name. Raises `ToolDefinitionError` without a name or a description."""
    if not agent.name or not agent.description:
        raise ToolDefinitionError("A managed agent needs a name and a description: they say what it is for.")

    async def call(task: str, additional_args: dict[str, Any] | None = None) -> Any:
        """Do a task.

        task: everything the agent must know; it sees nothing else of this conversation.
        additional_args: plain values that it finds as variables.
        """
        caller = CURRENT.get()
        async with _free(agent, caller) as free:
            run = await _done(free, caller, task, additional_args or {})
        if run.status != "success":
            raise ToolCallError(f"{agent.name} ended without an answer ({run.status}): {run.reason}")
        return run.answer

    return Tool(call, name=agent.name, description=agent.description)


@asynccontextmanager
async def _free(agent: CodeAgent, caller: Work | None) -> AsyncIterator[CodeAgent]:
    """The agent, or a copy with a sandbox of its own when it is at work."""
    if agent.is_reserved:
        other = copy(agent)
        other.memory, other.conversation, other.instance, other._work = None, new_id(), 0, None
        other.sandbox, other.listeners, other.is_reserved = agent.sandbox.another(), [], True
        try:
            yield other
        finally:
            await other.sandbox.close()
        return
    agent.is_reserved = True
    try:
        if caller:
            agent.journal = caller.agent.journal
        yield agent
    finally:
        agent.is_reserved = False


async def _done(agent: CodeAgent, caller: Work | None, task: str, values: dict[str, Any]) -> Run:
    """The run, shown to the caller's listeners as it goes, and counted into what the caller has spent."""
    run = Run()

    async def hear(event: Event) -> None:
        if not event.is_live:
            run.add(event)
        if caller:
            await caller.emit(Nested(step=caller.step, agent=agent.name, event=event))

    agent.forget()
    limits = _within(agent.limits, caller) if caller else agent.limits
    # A listener, because it hears the end of a run that is stopped, too; who stops it reads no more events.
    agent.listeners.append(hear)
    try:
        await agent.run(task, additional_args=values, limits=limits)
    finally:
        agent.listeners.remove(hear)
        if caller:
            _count(run.totals, caller)
    return run


def _within(limits: Limits, caller: Work) -> Limits:
    """The agent's own limits, or what its caller has left where that is less."""
    most, spent = caller.meter.limits, caller.meter.totals()
    left = {
        "tokens": None if most.tokens is None else max(1, most.tokens - spent.usage.total),
        "cost": None if most.cost is None else max(1e-9, most.cost - spent.cost),
        "seconds": None if caller.meter.seconds_left() is None else max(1e-3, caller.meter.seconds_left() or 0.0),
    }
    lower = {
        name: value
        for name, value in left.items()
        if value is not None and (getattr(limits, name) is None or value < getattr(limits, name))
    }
    return replace(limits, **lower)  # type: ignore[arg-type]


def _count(totals: Totals, caller: Work) -> None:
    caller.meter.add_reply(totals.usage, totals.cost)
    if not totals.cost_known:
        caller.meter.add_reply(Usage(), None)
