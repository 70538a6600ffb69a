"""Where a conversation stands: which steps of its runs still hold, after undoing and branching.

Runs are only ever added. One that branched names its parent and the last step of the parent that still holds; what came
after that step is undone, and still on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .events import Event, RunEnded
from .memory import Memory
from .run import Run, Step


@dataclass(frozen=True, slots=True)
class Part:
    """A run of which some or all steps hold."""

    run: Run
    last: int | None = None
    """Number of the last step that holds; None when all do."""

    @property
    def steps(self) -> list[Step]:
        """The steps that hold."""
        return [step for step in self.run.steps if self.last is None or step.number <= self.last]

    @property
    def events(self) -> list[Event]:
        """The events that hold; a run that was cut has no end."""
        if self.last is None:
            return self.run.events
        return [event for event in self.run.events if self._holds(event, self.last)]

    @staticmethod
    def _holds(event: Event, last: int) -> bool:
        return not isinstance(event, RunEnded) and getattr(event, "step", 0) <= last


def holding(runs: Iterable[Run]) -> list[Part]:
    """The parts of a conversation that hold now, oldest first. runs: all of them, in the order they were begun."""
    now: list[Part] = []
    after: dict[str, list[Part]] = {}
    for run in runs:
        if run.started is None:
            continue
        cut = after.get(run.started.parent or "")
        if cut:
            now = [*cut[:-1], Part(cut[-1].run, run.started.parent_step)]
        now = [*now, Part(run)]
        after[run.id] = now
    return now


def remembered(parts: Iterable[Part]) -> tuple[Memory | None, dict[tuple[str, int], tuple[int, str]]]:
    """What the model has been told of the parts, None where that is nothing; its head comes with the next request.

    And what it saw only in part: (run, step) -> number and whole text of the observation, the sandbox's `_out[number]`.
    """
    memory = Memory([])
    whole: dict[tuple[str, int], tuple[int, str]] = {}
    for part in parts:
        for event in part.events:
            memory.overflow = None
            memory.add(event)
            if memory.overflow and part.run.steps:
                whole[part.run.id, getattr(event, "step", part.run.steps[-1].number)] = memory.overflow
    memory.overflow = None
    return (memory if memory.has_task else None), whole
