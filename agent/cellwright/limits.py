"""What a run may spend, and the meter that says when it has.

Limits are on by default. They are checked before money is spent: a run that has reached one asks no model again.
Hitting one is not an error but a status (`out_of_steps`, ...): `Exceeded` carries the status and never leaves the loop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from .errors import UsageError
from .facts import Totals, Usage

if TYPE_CHECKING:
    from .events import Status


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may spend. `None` lifts a limit."""

    steps: int | None = 20
    """Replies asked for before the run ends with status `out_of_steps`."""
    seconds: float | None = 600.0
    """Wall time of the whole run."""
    tokens: int | None = 500_000
    """Tokens sent and written, over all replies."""
    cost: float | None = 1.0
    """US dollars, as litellm prices the replies; unknown prices count as 0 and are reported as unknown."""
    action_seconds: float | None = 120.0
    """Wall time of one action; then it is interrupted, and the model is told."""
    reply_tokens: int | None = 4096
    """Tokens of one reply."""
    observation_tokens: int = 2000
    """Tokens of one observation that the model is shown; the rest stays in the journal and in the sandbox."""
    output_bytes: int = 1 << 20
    """Output of one action that is kept; the rest is counted and said."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not value > 0:
                raise UsageError(f"Limit {item.name} must be more than 0, not {value!r}; None lifts it.")


class Exceeded(Exception):
    """A limit is reached: the run's status and one line that says which. Caught by the loop."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Meter:
    """Counts what one run spends and says when a limit is reached."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.steps = 0
        self._spent = Totals()

    def add_reply(self, usage: Usage, cost: float | None) -> None:
        """Count one reply; `cost` in US dollars, None when its price is unknown."""
        self._spent = self.totals().with_reply(usage, cost)

    def totals(self) -> Totals:
        """What has been spent until now."""
        return replace(self._spent, steps=self.steps, seconds=time.monotonic() - self.started)

    def seconds_left(self) -> float | None:
        """Seconds until the run's time is up; None without a limit."""
        if self.limits.seconds is None:
            return None
        return max(0.0, self.limits.seconds - (time.monotonic() - self.started))

    def before_reply(self) -> None:
        """Raise `Exceeded` when no further reply may be asked for."""
        limits, spent = self.limits, self.totals()
        if limits.steps is not None and spent.steps >= limits.steps:
            raise Exceeded("out_of_steps", f"No answer after {spent.steps} steps; `--max-steps` raises the limit.")
        self.before_spending()

    def before_spending(self) -> None:
        """Raise `Exceeded` when no tokens, money or time are left; steps may be."""
        limits, spent = self.limits, self.totals()
        if limits.tokens is not None and spent.usage.total >= limits.tokens:
            raise Exceeded("out_of_tokens", f"{spent.usage.total} tokens are spent; `--max-tokens` raises the limit.")
        if limits.cost is not None and spent.cost >= limits.cost:
            raise Exceeded("out_of_money", f"${spent.cost:.4f} are spent; `--budget` raises the limit.")
        if self.seconds_left() == 0.0:
            raise self.out_of_time()

    def out_of_time(self) -> Exceeded:
        """The exception for the run's own deadline."""
        return Exceeded("out_of_time", f"{self.limits.seconds:g} s are over; `--max-seconds` raises the limit.")
