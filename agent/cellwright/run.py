"""A run: the fold of its events, nothing more.

`Run.add` takes one event after another; every property is derived from what was added. The same fold serves a live run,
a run read from the journal, and the memory of the agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from . import events
from .facts import Totals
from .outputs import CellOutput, Failure, Json, plain_text, show


@dataclass(slots=True)
class Step:
    """One turn: what the model said, what was run, what came of it."""

    number: int
    plan: events.Planned | None = None
    reply: events.ReplyReceived | None = None
    proposed: events.ActionProposed | None = None
    decided: events.ActionDecided | None = None
    calls: list[events.ToolCalled] = field(default_factory=list)
    outputs: list[CellOutput] = field(default_factory=list)
    finished: events.ActionFinished | events.NoAction | None = None

    @property
    def thought(self) -> str:
        return self.proposed.thought if self.proposed else ""

    @property
    def code(self) -> str:
        """What ran, or was to run."""
        if self.decided:
            return self.decided.code
        return self.proposed.code if self.proposed else ""

    @property
    def outcome(self) -> events.Outcome | None:
        """How the action ended; None while it runs or when there was none."""
        return self.finished.outcome if isinstance(self.finished, events.ActionFinished) else None

    @property
    def note(self) -> str:
        return self.finished.note if self.finished else ""

    @property
    def seconds(self) -> float:
        """Seconds that the action took."""
        return self.finished.seconds if isinstance(self.finished, events.ActionFinished) else 0.0

    @property
    def error(self) -> Failure | None:
        """The exception that ended the action."""
        return next((output for output in reversed(self.outputs) if isinstance(output, Failure)), None)

    @property
    def text(self) -> str:
        """All that the action printed, and the plain text of what it displayed."""
        return "\n".join(filter(None, (plain_text(output) for output in self.outputs)))


class Run:
    """A run as far as its events are known."""

    def __init__(self, happened: Iterable[events.Event] = ()) -> None:
        self.events: list[events.Event] = []
        self.steps: list[Step] = []
        self.started: events.RunStarted | None = None
        self.answered: events.AnswerGiven | None = None
        self.ended: events.RunEnded | None = None
        for event in happened:
            self.add(event)

    def add(self, event: events.Event) -> None:
        """Take the next event into the fold. Pieces of a reply are only given by a live view; nobody stores them."""
        self.events.append(event)
        match event:
            case events.RunStarted():
                self.started = event
            case events.Planned():
                self._step(event.step).plan = event
            case events.ReplyReceived():
                self._step(event.step).reply = event
            case events.ActionProposed():
                self._step(event.step).proposed = event
            case events.ActionDecided():
                self._step(event.step).decided = event
            case events.ToolCalled():
                self._step(event.step).calls.append(event)
            case events.Output():
                show(self._step(event.step).outputs, event.output, (step.outputs for step in self.steps))
            case events.ActionFinished() | events.NoAction():
                self._step(event.step).finished = event
            case events.AnswerGiven():
                self.answered = event
            case events.RunEnded():
                self.ended = event

    def _step(self, number: int) -> Step:
        if not self.steps or self.steps[-1].number != number:
            self.steps.append(Step(number))
        return self.steps[-1]

    @property
    def id(self) -> str:
        return self.started.run_id if self.started else ""

    @property
    def task(self) -> str:
        return self.started.task if self.started else ""

    @property
    def status(self) -> events.Status:
        return self.ended.status if self.ended else "running"

    @property
    def reason(self) -> str:
        """Why it ended as it did, in one line; empty on success."""
        return self.ended.reason if self.ended else ""

    @property
    def answer(self) -> Json:
        """The answer: its JSON value where it has one, else its plain text; None without an answer."""
        if self.answered is None:
            return None
        return self.answered.value if self.answered.has_value else self.answered.data.get("text/plain")

    @property
    def totals(self) -> Totals:
        """What it has spent; while it goes on, as far as replies are in."""
        if self.ended:
            return self.ended.totals
        totals = Totals()
        for step in self.steps:
            for paid in (step.plan, step.reply):
                totals = totals.with_reply(paid.usage, paid.cost) if paid else totals
        totals = replace(totals, steps=sum(step.reply is not None for step in self.steps))
        seconds = self.events[-1].time - self.events[0].time if self.events else 0.0
        return replace(totals, seconds=seconds)

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.status}, {len(self.steps)} steps, answer={self.answer!r}>"
