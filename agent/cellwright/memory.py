"""What the model is told: the events of a conversation as chat messages.

Messages are only ever appended, so that what was sent stays a prefix of what is sent next and the provider's cache
hits. An observation is bounded: the model sees head and tail, the whole stays in the journal and, as `_out[n]`, in the
sandbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .compaction import shortened
from .events import ActionFinished, Compacted, Event, NoAction, Planned, ReplyReceived, RunEnded, RunStarted, Told
from .models.base import Message, as_hashed
from .observations import bounded, how_it_ended, observation, observation_messages, task_text
from .run import Run

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb, used only to bound what is sent."""


class Memory:
    """The conversation as the model knows it: a fold of events into messages."""

    def __init__(self, head: Sequence[Message]) -> None:
        self._head = list(head)
        self.overflow: tuple[int, str] | None = None
        """Number and whole text of the last observation, when the model saw only part of it."""
        self.forget()

    def forget(self) -> None:
        """Begin anew: only the system prompt and the examples stay."""
        self._actions = 0
        self._run = Run()
        self._rebuild([])

    def set_head(self, head: Sequence[Message]) -> None:
        """Carry the conversation on under another head; nothing happens when it is the same."""
        if head != self._head:
            told = self.messages[len(self._head) :]
            self._head = list(head)
            self._rebuild(told)

    def _rebuild(self, told: Sequence[Message]) -> None:
        self.messages: list[Message] = []
        self._sha256 = hashlib.sha256()
        self._append(*self._head, *told)

    @property
    def has_task(self) -> bool:
        """True once a task has been given."""
        return len(self.messages) > len(self._head)

    @property
    def sha256(self) -> str:
        """Hash of the messages, one JSON object a line."""
        return self._sha256.hexdigest()

    def add(self, event: Event) -> None:
        """Take the next event of the conversation."""
        if isinstance(event, RunStarted):
            if event.is_fresh:
                self.forget()
            before, self._run = self._run, Run([event])
            if event.author == "agent" and not event.goes_on:
                self._append(Message("user", how_it_ended(before) + task_text(event), images=event.images))
            return
        self._run.add(event)
        if self._run.started is None:
            return
        if self._run.started.author == "person":
            if isinstance(event, RunEnded) and self._run.started.parent is None:
                self._append(
                    Message("user", f"The user ran this:\n```python\n{self._run.task}\n```\n{self._observed()}")
                )
        elif isinstance(event, ReplyReceived | Planned):
            self._append(Message("assistant", event.text, getattr(event, "calls", ())))
        elif isinstance(event, Told):
            self._append(Message("user", event.text))
        elif isinstance(event, Compacted):
            self._rebuild(shortened(self.messages[len(self._head) :], event.kept))
        elif isinstance(event, ActionFinished | NoAction) and self._run.answered is None:
            self._append(*observation_messages(self._run.steps[-1], self._observed()))

    def _observed(self) -> str:
        limits = self._run.started.limits if self._run.started else None
        limit = (limits.observation_tokens if limits else 2000) * CHARACTERS_PER_TOKEN
        self._actions += 1
        whole = observation(self._run.steps[-1]) if self._run.steps else ""
        shown = bounded(whole, limit, f"_out[{self._actions}]")
        self.overflow = None if shown == whole else (self._actions, whole)
        return f"Observation:\n{shown}"

    def _append(self, *messages: Message) -> None:
        for message in messages:
            self.messages.append(message)
            self._sha256.update(as_hashed(message))
