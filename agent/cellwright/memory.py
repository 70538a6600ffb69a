"""What the model is told: the events of a conversation as chat messages.

Messages are only ever appended, so that what was sent stays a prefix of what is sent next and the provider's cache
hits. An observation is bounded: the model sees head and tail, the whole stays in the journal and, as `_out[n]`, in the
sandbox.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict

from . import prompts
from .events import ActionFinished, Event, NoAction, ReplyReceived, RunEnded, RunStarted, ToolFacts
from .models.base import Message
from .run import Run, Step, plain_text
from .sandbox.base import AtHand

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb, used only to bound what is sent."""
_IMPORTS = {
    "plt": "import matplotlib.pyplot as plt",
    "pd": "import pandas as pd",
    "np": "import numpy as np",
    "sns": "import seaborn as sns",
}
"""Names that models use before they import them; the error alone makes small ones repeat themselves."""
_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Memory:
    """The conversation as the model knows it: a fold of events into messages."""

    def __init__(self, system: str, examples: Sequence[Message] = ()) -> None:
        self._head = [Message("system", system), *examples]
        self.overflow: tuple[int, str] | None = None
        """Number and whole text of the last observation, when the model saw only part of it."""
        self.forget()

    def forget(self) -> None:
        """Begin anew: only the system prompt and the examples stay."""
        self._actions = 0
        self._run = Run()
        self._rebuild([])

    def set_head(self, system: str, examples: Sequence[Message]) -> None:
        """Carry the conversation on under another head; nothing happens when it is the same."""
        head = [Message("system", system), *examples]
        if head != self._head:
            told = self.messages[len(self._head) :]
            self._head = head
            self._rebuild(told)

    def _rebuild(self, told: Sequence[Message]) -> None:
        self.messages: list[Message] = []
        self._sha256 = hashlib.sha256()
        for message in [*self._head, *told]:
            self._append(message)

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
            before, self._run = self._run, Run()
            self._run.add(event)
            if event.author == "agent":
                self._say("user", _told(before) + task_text(event))
            return
        self._run.add(event)
        if self._run.started is None:
            return
        if self._run.started.author == "person":
            if isinstance(event, RunEnded):
                self._say("user", f"The user ran this:\n```python\n{self._run.task}\n```\n{self._observed()}")
        elif isinstance(event, ReplyReceived):
            self._say("assistant", event.text)
        elif isinstance(event, ActionFinished | NoAction) and self._run.answered is None:
            self._say("user", self._observed())

    def _observed(self) -> str:
        limits = self._run.started.limits if self._run.started else None
        limit = (limits.observation_tokens if limits else 2000) * CHARACTERS_PER_TOKEN
        self._actions += 1
        whole = observation(self._run.steps[-1]) if self._run.steps else ""
        shown = bounded(whole, limit, f"_out[{self._actions}]")
        self.overflow = None if shown == whole else (self._actions, whole)
        return f"Observation:\n{shown}"

    def _say(self, role: str, content: str) -> None:
        self._append(Message(role, content))  # type: ignore[arg-type]

    def _append(self, message: Message) -> None:
        self.messages.append(message)
        self._sha256.update(json.dumps(asdict(message), sort_keys=True).encode() + b"\n")


def system_prompt(tools: Sequence[ToolFacts], instructions: str = "") -> str:
    """The first message: how to answer, which tools there are, what the person wants in general."""
    parts = [prompts.text("system")]
    if tools:
        described = "\n".join(f'def {t.signature}:\n    """{t.description}"""' for t in tools)
        parts.append(f"These functions are there too; call them like any other:\n```python\n{described}\n```")
    return "\n\n".join(filter(None, [*parts, instructions]))


def task_text(started: RunStarted) -> str:
    """The message that gives a task."""
    return f"Task: {started.task}" + (f"\n\nAt hand:\n{started.context}" if started.context else "")


def describe(at_hand: AtHand) -> str:
    """Files and variables as lines for the model."""
    lines = [f"- file {f.name} ({_size(f.size)})" + (f": {f.summary}" if f.summary else "") for f in at_hand.files]
    lines += [
        f"- variable {v.name}: {v.type_name}" + (f", {v.summary}" if v.summary else "") for v in at_hand.variables
    ]
    return "\n".join(lines)


def observation(step: Step) -> str:
    """What came of an action, whole: output, the error in one line, notes."""
    parts = [plain_text(output) for output in step.outputs if output is not step.error]
    text = "\n".join(filter(None, [*parts, error_text(step), step.note])) or "(no output)"
    if step.outcome == "ok":
        text += "\nNo answer yet: go on, or call final_answer(value)."
    return _COLOURS.sub("", text)


def error_text(step: Step) -> str:
    """The exception in one line, with the failing line of the model's own code: tracebacks don't help small models."""
    error = step.error
    if error is None:
        return ""
    said = f"{error.ename}: {error.evalue}" if error.evalue else error.ename
    if error.ename == "NameError" and (missing := _UNDEFINED.match(error.evalue)):
        name = missing[1]
        if name in _IMPORTS or name in sys.stdlib_module_names:
            said += f"\nImport it first: {_IMPORTS.get(name, f'import {name}')}"
    lines = step.code.splitlines()
    if error.line and 0 < error.line <= len(lines) and lines[error.line - 1].strip():
        return f"Error in line {error.line}: `{lines[error.line - 1].strip()}`: {said}"
    return f"Error: {said}"


def bounded(text: str, limit: int, where: str) -> str:
    """`text`, or its head and tail and how much is missing, when it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit * 2 // 3], text[-(limit // 3) :]
    missing = len(text) - len(head) - len(tail)
    return f"{head}\n… {missing:,} characters are left out here; the whole text is in {where} …\n{tail}"


def _told(before: Run) -> str:
    """How the last task ended, as the model must know to go on from there."""
    if before.started is None or before.started.author == "person":
        return ""
    if before.answered:
        return f"The user was shown your answer: {bounded(str(before.answer), 500, '_answer')}\n\n"
    return f"That task ended without an answer ({before.status}).\n\n" if before.ended else ""


def _size(size: int) -> str:
    return (
        f"{size} bytes" if size < 1024 else f"{size / 1024:.0f} KB" if size < 1 << 20 else f"{size / (1 << 20):.1f} MB"
    )
