"""A model whose replies are on record: `replay:RUN` answers from the journal, `replay:audit.ipynb` from a notebook.

Notebooks and tests then run without a key and without a network. Every request is compared with the one that was made
then, by the hash that stands in the record; one that differs fails at once and says where, because an answer to another
question is worth nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import JournalError, ModelError, UnknownModel, one_line
from ..events import Planned, ReplyReceived
from ..facts import Usage
from .base import Message, ReplyEnd, ReplyPart, Sampling, Text, sha256

if TYPE_CHECKING:
    from ..run import Run

PREFIX = "replay:"


class ReplayDiffers(ModelError):
    """The request is not the one that was made then."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A reply on record."""

    run: Run
    reply: ReplyReceived | Planned
    number: int
    """Place among the replies, from 1."""


class ReplayModel:
    """Answers from the record of a run.

    source: a run's id, or its beginning, of the journal; or the path of an audit notebook or a journal. Of a
    journal the newest run is taken. Raises `UnknownModel` where there is nothing to replay.
    """

    def __init__(self, source: str) -> None:
        self.source = source.removeprefix(PREFIX)
        self._replies: list[Recorded] | None = None
        self._next = 0
        self._is_file = Path(self.source).is_file()

    @property
    def name(self) -> str:
        return PREFIX + self.source

    @property
    def examples(self) -> Sequence[Message]:
        """Those of the model that answered then: its requests began with them."""
        if self._replies and self._replies[0].run.started and self._replies[0].run.started.model == "embedded":
            from .embedded import EmbeddedModel

            return EmbeddedModel().examples
        return ()

    def warm_up(self) -> None:
        """Nothing to do."""

    async def load(self) -> None:
        """Read the record. Raises `UnknownModel`, `JournalError`."""
        if self._replies is None:
            runs = await self._runs()
            found = [(run, event) for run in runs for event in run.events if isinstance(event, ReplyReceived | Planned)]
            if not found:
                raise UnknownModel(self.name, why="no model answered in that run")
            self._replies = [Recorded(run, event, number) for number, (run, event) in enumerate(found, 1)]

    async def _runs(self) -> Sequence[Run]:
        from ..journal import Journal, default_path

        path = Path(self.source)
        if path.suffix == ".ipynb":
            return _of_notebook(path)
        journal = Journal(path if self._is_file else default_path())
        try:
            if self._is_file:
                return [await journal.latest()]
            run = await journal.run(self.source)
            before = await journal.conversation(run.started.conversation if run.started else "")
            return before[: [one.id for one in before].index(run.id) + 1] or [run]
        except JournalError as error:
            raise UnknownModel(self.name, why=str(error)) from error
        finally:
            await journal.aclose()

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The reply that was given then. Raises `ReplayDiffers`."""
        await self.load()
        assert self._replies is not None
        if self._next >= len(self._replies):
            raise ReplayDiffers(f"The record holds {len(self._replies)} replies, and one more is asked for.")
        recorded = self._replies[self._next]
        _compare(recorded, messages)
        self._next += 1
        yield Text(recorded.reply.text)
        if isinstance(recorded.reply, ReplyReceived):
            for call in recorded.reply.calls:
                yield call
        model = recorded.run.started.model if recorded.run.started else ""
        yield ReplyEnd(recorded.reply.usage, 0.0, model)

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        """What the record says; it costs nothing."""
        usage = self._replies[self._next - 1].reply.usage if self._replies and self._next else Usage()
        return usage, 0.0

    async def aclose(self) -> None:
        """Nothing is held."""


def _compare(recorded: Recorded, messages: Sequence[Message]) -> None:
    """Raises `ReplayDiffers` where `messages` are not what was sent then."""
    then = getattr(recorded.reply, "prompt_sha256", "")
    now = sha256(messages)
    if not then or now == then:
        return
    last = one_line(messages[-1].content, 200)
    task = recorded.run.task
    asked = next((message.content for message in messages if message.content.startswith("Task: ")), "")
    if recorded.number == 1 and f"Task: {task}" not in asked:
        what = f"the task was {one_line(task, 120)!r}, now it is {one_line(asked.removeprefix('Task: '), 120)!r}."
    elif recorded.number == 1:
        what = f"the task is the same, but what stands around it (prompt, tools, files at hand) is not: {last!r}."
    else:
        what = f"what was seen before it differs; it ends now with {last!r}."
    raise ReplayDiffers(f"Request {recorded.number} is not the one on record: {what}")


def _of_notebook(path: Path) -> Sequence[Run]:
    """The runs that an audit notebook holds, without those of agents that were called as tools."""
    from ..notebook.metadata import NoRecord, read_file, read_record
    from ..record import fault

    try:
        records = read_record(read_file(path))
    except NoRecord as error:
        raise UnknownModel(PREFIX + str(path), why=str(error)) from error
    if why := next(filter(None, map(fault, records)), None):
        raise UnknownModel(PREFIX + str(path), why=f"its record was changed: {why}")
    return [run for record in records if (run := record.run).started and run.started.caller is None]
