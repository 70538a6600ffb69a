"""A run that was called by another agent's run: whose tokens, money and time it spends, and why it was stopped.

What it spends is counted into its caller's meter at once, not when it ends: agents at work at the same time share what
their caller has left, and a caller that is stopped knows what was spent. The limits of both hold; whichever is reached
first ends it, and the caller's own next request then ends the caller with the same status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .limits import Exceeded, Limits, Meter

if TYPE_CHECKING:
    from .events import Status
    from .facts import Usage
    from .loop import Work

STOPPED = "Stopped by the user."


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


def how_it_was_stopped(work: Work) -> tuple[Status, str]:
    """Status and reason of a run that was cancelled: by the user, or since its caller does not wait any longer."""
    caller = work.caller
    if caller is None or caller.is_stopped:
        return "interrupted", STOPPED
    if caller.meter.seconds_left() == 0.0:
        over = caller.meter.out_of_time()
        return over.status, over.reason
    return "interrupted", "Its caller did not wait any longer."
