"""Managed agents: an agent that another one calls like a tool.

It has its own memory, its own sandbox and its own run on record, in its caller's journal; each call begins a new chat.
What it spends counts against its caller's limits (`called.py`), what it does is shown nested, and a stop of the caller
ends it too. Its sandbox's variables stay for later calls of the same conversation, and for no other. Calls at the same
time are done by copies that share nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .called import called_by
from .errors import ToolCallError, ToolDefinitionError
from .events import Event, Nested
from .identity import new_id
from .loop import CURRENT
from .run import Run
from .tools import Tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .agent import CodeAgent
    from .loop import Work


@dataclass(slots=True)
class Loan:
    """Who has an agent that can be called as a tool."""

    is_out: bool = False
    """True while a call holds it."""
    conversation: str = ""
    """Of the last caller: what the agent's sandbox holds is for that conversation only."""


class ManagedAgent(Tool):
    """An agent as a tool; made by `managed`."""

    agent: CodeAgent


def managed(agent: CodeAgent) -> ManagedAgent:
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
            guess = f" Its best guess: {run.answer}" if run.answered else ""
            raise ToolCallError(f"{agent.name} ended without an answer ({run.status}): {run.reason}{guess}")
        return run.answer

    made = ManagedAgent(call, name=agent.name, description=agent.description)
    made.agent = agent
    return made


def agents_among(tools: Iterable[Tool]) -> list[CodeAgent]:
    """The managed agents, each once, and those that they manage."""
    found: dict[int, CodeAgent] = {}
    waiting = [*tools]
    while waiting:
        tool = waiting.pop()
        if isinstance(tool, ManagedAgent) and id(tool.agent) not in found:
            found[id(tool.agent)] = tool.agent
            waiting += tool.agent.tools.values()
    return list(found.values())


async def close_sandboxes(agents: Iterable[CodeAgent]) -> None:
    """End the sandboxes of those that nobody has; one that is called again starts a new one."""
    await asyncio.gather(*(agent.sandbox.close() for agent in agents if not agent.loan.is_out and not agent.is_working))


@asynccontextmanager
async def _free(agent: CodeAgent, caller: Work | None) -> AsyncIterator[CodeAgent]:
    """The agent, or a copy with a sandbox of its own when it is at work. Its run goes into the caller's journal."""
    loan, journal = agent.loan, agent.journal
    if loan.is_out or agent.is_working:
        other = _copied(agent)
        other.journal = caller.agent.journal if caller else journal
        try:
            yield other
        finally:
            await other.sandbox.close()
        return
    loan.is_out = True
    try:
        conversation = caller.agent.conversation if caller else ""
        if loan.conversation not in ("", conversation):
            await agent.reset()
        loan.conversation = conversation
        agent.journal = caller.agent.journal if caller else journal
        yield agent
    finally:
        agent.journal, loan.is_out = journal, False


def _copied(agent: CodeAgent) -> CodeAgent:
    """An agent like this one that has done nothing yet."""
    other = copy(agent)
    other.memory, other.conversation, other.instance, other._work = None, new_id(), 0, None
    other.sandbox, other.loan = agent.sandbox.another(), Loan()
    other.listeners = [listener for listener in agent.listeners if not isinstance(listener, _Relay)]
    if hasattr(other, "results"):
        other.results = {}
    return other


class _Relay:
    """Hears a run that was called: shows it to the caller's listeners as it goes, and keeps it."""

    def __init__(self, agent: CodeAgent, caller: Work | None) -> None:
        self.run = Run()
        self._agent, self._caller = agent, caller

    async def __call__(self, event: Event) -> None:
        if not event.is_live:
            self.run.add(event)
        if caller := self._caller:
            await caller.emit(Nested(step=caller.step, agent=self._agent.name, event=event, run_id=self.run.id))


async def _done(agent: CodeAgent, caller: Work | None, task: str, values: dict[str, Any]) -> Run:
    """The run, as far as it came."""
    relay = _Relay(agent, caller)
    agent.forget()
    # A listener, because it hears the end of a run that is stopped, too; who stops it reads no more events.
    agent.listeners.append(relay)
    with called_by(caller):
        try:
            await agent.run(task, additional_args=values)
        finally:
            agent.listeners.remove(relay)
    return relay.run
