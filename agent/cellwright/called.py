"""A run that was called by another agent's run: whose tokens, money and time it spends, and why it was stopped.

What it spends is counted into its caller's meter at once, not when it ends: agents at work at the same time share what
their caller has left, and a caller that is stopped knows what was spent. The limits of both hold; whichever is reached
first ends it, and the caller's own next request then ends the caller with the same status. A caller that is stopped
ends after those that it called, so that their end is shown, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .limits import Exceeded, Limits, Meter

if TYPE_CHECKING:
    from .events import Status
    from .facts import Usage
    from .loop import Work

STOPPED = "Stopped by the user."
END_SECONDS = 3.0
"""How long a caller that is stopped waits for those that it called: milliseconds, unless the machine is busy."""

_under_way: WeakKeyDictionary[Work, set[asyncio.Future[None]]] = WeakKeyDictionary()
"""Caller -> what is done when a call of it has ended."""


class CalledMeter(Meter):
    """The meter of a run that was called by the run of the meter `above`."""

    def __init__(self, limits: Limits, above: Meter) -> None:
        super().__init__(limits)
        self._above = above

    def add_reply(self, usage: Usage, cost: float | None) -> None:
        """Count one reply, here and above."""
        super().add_reply(usage, cost)
        self._above.add_reply(usage, cost)

    def seconds_left(self) -> float | None:
        """Seconds until the time of the run, or of a caller, is up."""
        left = [seconds for seconds in (super().seconds_left(), self._above.seconds_left()) if seconds is not None]
        return min(left) if left else None

    def before_spending(self) -> None:
        """Raise `Exceeded` when this run, or a caller, has spent what it may."""
        super().before_spending()
        self._above.before_spending()

    def out_of_time(self) -> Exceeded:
        """The exception for whichever time is up."""
        return super().out_of_time() if super().seconds_left() == 0.0 else self._above.out_of_time()


def meter_for(limits: Limits, caller: Work | None) -> Meter:
    """The meter of a new run."""
    return CalledMeter(limits, caller.meter) if caller else Meter(limits)


@contextmanager
def called_by(caller: Work | None) -> Iterator[None]:
    """While a call goes on: the caller's own end waits for it."""
    if caller is None:
        yield
        return
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    calls = _under_way.setdefault(caller, set())
    calls.add(ended)
    try:
        yield
    finally:
        calls.discard(ended)
        ended.set_result(None)


async def how_it_was_stopped(work: Work) -> tuple[Status, str]:
    """Status and reason of a run that was cancelled, once those that it called have ended, too.

    It was cancelled by the user, because the time is up, or since its caller does not wait any longer.
    """
    if calls := _under_way.get(work):
        await asyncio.wait(calls, timeout=END_SECONDS)
    if work.caller is None:
        return "interrupted", STOPPED
    if work.meter.seconds_left() == 0.0:
        over = work.meter.out_of_time()
        return over.status, over.reason
    first = work.caller
    while first.caller:
        first = first.caller
    return "interrupted", STOPPED if first.is_stopped else "Its caller did not wait any longer."
