"""A run as it is shown: its steps, the calls in them, and inside those the runs of the agents that were called.

`Run` is the fold of a run's own events, as they are on record. Two things that a person wants to see are not in it: an
agent that is called like a tool has a run of its own, whose events come wrapped (`Nested`) while it goes on; and a call
that is still at work has told no more than its progress. `Tree` folds these, too. Runs out of the journal hold nothing
that is live only; `with_called` puts the runs of the agents that they called back into them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import merge

from cellwright.events import ActionDecided, Event, Nested, ToolCalled, ToolProgress
from cellwright.facts import ToolUse, Totals
from cellwright.outputs import Json
from cellwright.run import Run


@dataclass(slots=True)
class Call:
    """A call of a tool, from its start to its end."""

    name: str
    since: float
    """When it was first heard of; seconds since 1970-01-01 UTC."""
    begun: ToolProgress | None = None
    """What it said of itself when it began."""
    use: ToolUse | None = None
    """As the model wrote it, where it called a function by itself."""
    progress: str = ""
    called: ToolCalled | None = None
    """How it ended; None while it runs."""


class Tree:
    """A run, and in its steps the calls and the runs of other agents."""

    def __init__(self, run: Run | None = None, *, key: str = "", name: str = "", caller: Tree | None = None) -> None:
        self.run = run or Run()
        self.key = key
        """Tells inner runs apart; empty for the outermost."""
        self.name = name
        """Of the agent, where it was called like a tool."""
        self.caller = caller
        self._calls: dict[int, list[Call]] = {}
        self._inner: dict[int, list[Tree]] = {}
        for event in self.run.events:
            self._fold(event)

    def add(self, event: Event) -> None:
        """Take the next event, live ones too."""
        self.run.add(event)
        self._fold(event)

    def calls(self, step: int) -> list[Call]:
        """Calls of a step, in the order in which they were heard of."""
        return self._calls.get(step, [])

    def inner(self, step: int) -> list[Tree]:
        """Runs of the agents that a step called, in the order of their start."""
        return self._inner.get(step, [])

    def inner_of(self, event: Nested) -> Tree:
        """The run that a nested event belongs to."""
        return next(inner for inner in self._inner[event.step] if inner.key == _key(event))

    def find(self, run_id: str) -> Tree | None:
        """The run of that id, among these."""
        if self.run.id == run_id:
            return self
        inner = (tree.find(run_id) for runs in self._inner.values() for tree in runs)
        return next((tree for tree in inner if tree), None)

    def is_agent(self, step: int, call: Call) -> bool:
        """Whether a call is that of an agent whose run is shown, so that it need not be shown by itself."""
        tasks = [inner.run.task.strip() for inner in self.inner(step) if inner.name == call.name]
        return bool(tasks) and (call.called is None or _task(call.called) in tasks)

    @property
    def totals(self) -> Totals:
        """What was spent, by the agents that were called, too."""
        totals = self.run.totals
        if self.run.ended:
            return totals  # theirs are counted in
        for inner in (inner for runs in self._inner.values() for inner in runs):
            theirs = inner.totals
            totals = replace(
                totals,
                usage=totals.usage + theirs.usage,
                cost=totals.cost + theirs.cost,
                cost_known=totals.cost_known and theirs.cost_known,
            )
        return totals

    def _fold(self, event: Event) -> None:
        match event:
            case Nested():
                runs = self._inner.setdefault(event.step, [])
                if not any(inner.key == _key(event) for inner in runs):
                    runs.append(Tree(key=_key(event), name=event.agent, caller=self))
                self.inner_of(event).add(event.event)
            case ToolProgress():
                self._at_work(event).progress = event.text
            case ToolCalled():
                self._at_work(event).called = event
            case ActionDecided(verdict="approved"):
                uses = [Call(use.name, event.time or time.time(), use=use) for use in self._uses()]
                self._calls.setdefault(event.step, []).extend(uses)

    def _at_work(self, event: ToolProgress | ToolCalled) -> Call:
        """The call that `event` tells of: the first of that name that is at work, unless its id is known."""
        calls = self._calls.setdefault(event.step, [])
        open_ones = [call for call in calls if call.name == event.name and call.called is None]
        if isinstance(event, ToolCalled) and event.call_id:
            open_ones.sort(key=lambda call: call.use is None or call.use.id != event.call_id)
        else:
            open_ones.sort(key=lambda call: not _is_of(event, call))
        is_new = isinstance(event, ToolProgress) and not event.text and not (open_ones and open_ones[0].use)
        if is_new or not open_ones:
            begun = event if isinstance(event, ToolProgress) else None
            calls.append(Call(event.name, event.time or time.time(), begun))
            return calls[-1]
        return open_ones[0]

    def _uses(self) -> tuple[ToolUse, ...]:
        """Functions that the model called by itself; none when one of them is no tool, because then none is called."""
        reply = self.run.steps[-1].reply
        known = {tool.name for tool in self.run.started.tools} if self.run.started else set()
        return reply.calls if reply and all(use.name in known for use in reply.calls) else ()


def _is_of(event: ToolProgress | ToolCalled, call: Call) -> bool:
    return call.begun is not None and (call.begun.args, call.begun.kwargs) == (tuple(event.args), dict(event.kwargs))


def _key(event: Nested) -> str:
    # A run that could not begin has told no id.
    return event.run_id or f"{event.agent} {event.step}"


def _task(called: ToolCalled) -> Json:
    """What an agent was asked, when `called` is the call of one."""
    task = called.kwargs.get("task", called.args[0] if called.args else "")
    return task.strip() if isinstance(task, str) else task


# ---- out of the journal ---------------------------------------------------------------------------------------------


def with_called(run: Run, others: Iterable[Run]) -> Run:
    """`run` as if it had been heard live, with the runs of the agents that it called, and of those that they called.

    others: runs among which these are found by their caller; the rest is left out.
    """
    others = list(others)
    own = [event for event in run.events if not isinstance(event, Nested)]
    called = [with_called(other, others) for other in others if other.started and other.started.caller == run.id]
    # Merged, not sorted: a clock that was set back must not change the order within a run.
    return Run(merge(own, *(list(_wrapped(run, other)) for other in called), key=lambda event: event.time))


def _wrapped(run: Run, called: Run) -> Iterator[Nested]:
    begun = called.events[0].time
    before = [step for step in run.steps if step.decided and step.decided.time <= begun]
    if not before:
        return
    step = before[-1]
    name = next((call.name for call in step.calls if _task(call) == called.task.strip()), "agent")
    for event in called.events:
        yield Nested(step=step.number, agent=name, event=event, run_id=called.id, time=event.time)
