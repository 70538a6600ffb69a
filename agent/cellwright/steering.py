"""Words of a person to an agent that is at work: it reads them before its next step.

`agent.before_step.append(steering)`, and `steering.say("use the median")` at any time. What was said is on record as
`Told`, and stays for the steps that follow.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .errors import UsageError
from .events import Told

if TYPE_CHECKING:
    from .loop import Work

MOST_CHARACTERS = 10_000
"""Of one word to the agent."""


class Steering:
    """What a person has said, and the agent has not read yet."""

    def __init__(self) -> None:
        self._said: deque[str] = deque()

    def say(self, text: str) -> None:
        """Have the agent read `text` before its next step. May be called from any thread. Raises `UsageError`."""
        if not text.strip():
            raise UsageError("There is nothing to tell the agent; write what it should do differently.")
        if len(text) > MOST_CHARACTERS:
            raise UsageError(f"That is {len(text):,} characters; tell the agent at most {MOST_CHARACTERS:,} at a time.")
        self._said.append(text.strip())

    def take_back(self) -> list[str]:
        """What the agent has not read; it never will."""
        unread = list(self._said)
        self._said.clear()
        return unread

    async def __call__(self, work: Work) -> None:
        """Before a step: tell the model what was said."""
        while self._said:
            await work.emit(Told(step=work.step, text=self._said.popleft(), by="person"))
