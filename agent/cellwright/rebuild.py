"""A sandbox's state, built anew from the record: what ran before runs again, and no model is asked.

Values are put in, files handed over, and every action that ran to its end is run once more, in order, in a fresh
sandbox. Tools are not called: each call is answered with what it returned then, so nothing outside happens twice; lines
that a person typed are answered likewise. What can't be brought back is named, never passed over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import WorkspaceError
from .events import Event, InputGiven, ToolCalled, ValuePut
from .lineage import Part, remembered
from .outputs import CellOutput, Failure, Json, plain_text, show
from .run import Run, Step
from .sandbox.base import Call, Callbacks, CallResult, Execution, Failed, Finished, Raised, Returned, Sandbox
from .sandbox.none import NoSandbox
from .task import file_facts

GRACE_SECONDS = 30.0
"""So much longer than at first an action may take, besides twice its time."""
MOST_SECONDS = 3600.0
"""No action may take longer, whatever a record says of it."""


@dataclass(slots=True)
class Rebuilt:
    """What came of it."""

    steps: int = 0
    """So many actions ran again."""
    notes: list[str] = field(default_factory=list)
    """What could not be brought back, a line each."""

    @property
    def text(self) -> str:
        """In one line."""
        said = f"The sandbox was rebuilt: {self.steps} step{'' if self.steps == 1 else 's'} ran again."
        return " ".join([said, *self.notes])


@dataclass(frozen=True, slots=True)
class Redone:
    """An action that ran again."""

    execution: Execution
    outputs: Sequence[CellOutput]


See = Callable[[Run, Step, Redone, Sequence[str]], Awaitable[None]]
"""(run, step, what came of it now, calls of tools that are not on record)"""


class Recorded:
    """Answers calls of tools, and of `input`, from what is on record."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._calls = [event for event in events if isinstance(event, ToolCalled)]
        self._lines = [event for event in events if isinstance(event, InputGiven)]
        self.differs: list[str] = []
        """Calls that are not on record."""
        self.hidden: list[str] = []
        """Prompts whose answer was not to be shown, so that it is not on record."""

    async def call(self, call: Call) -> CallResult:
        """What that call returned, or raised."""
        for index, known in enumerate(self._calls):
            if known.name == call.name and _same(known, call):
                del self._calls[index]
                return Raised(known.error) if known.error is not None else Returned(known.result)
        self.differs.append(call.name)
        return Raised(f"There is no record, or no further one, of this call of {call.name}; tools are not run again.")

    async def line(self, prompt: str, hidden: bool) -> str:
        """What the person typed; nothing where it was not to be shown."""
        for index, known in enumerate(self._lines):
            if known.prompt == prompt:
                del self._lines[index]
                if known.value is None:
                    self.hidden.append(prompt)
                return known.value or ""
        self.differs.append("input")
        return ""


async def rebuild(sandbox: Sandbox, parts: Sequence[Part], folder: Path, see: See | None = None) -> Rebuilt:
    """Bring a fresh sandbox to the state in which `parts` left theirs. folder: where the person's files are.

    see: is told of each action that ran again, instead of a note where it showed something else. The record is then
    somebody else's: a file is handed over only where it is the one that the record knows. Raises `SandboxUnavailable`.
    """
    done = Rebuilt()
    _, whole = remembered(parts)
    for part in parts:
        run = part.run
        if run.started is None:
            continue
        if run.started.state_lost:
            await sandbox.restart()  # as it was then: without variables, but with the files of before
        await _hand_over(sandbox, run, folder, done, is_foreign=see is not None)
        await sandbox.offer(run.started.tools)
        for value in (event for event in run.events if isinstance(event, ValuePut)):
            await sandbox.put(value.name, value.form, value.value)
        for step in part.steps:
            await _redo(sandbox, run, step, done, see)
            if kept := whole.get((run.id, step.number)):
                await sandbox.keep(*kept)
    return done


async def redo(sandbox: Sandbox, run: Run, step: Step, recorded: Recorded) -> Redone:
    """Run the action of a step again, its tools answered from the record. Raises `SandboxUnavailable`."""
    outputs: list[CellOutput] = []

    async def take(output: CellOutput) -> None:
        show(outputs, output)

    most = min(MOST_SECONDS, max(0.0, step.seconds) * 2 + GRACE_SECONDS)
    execution = await sandbox.run(step.code, Callbacks(take, recorded.call, recorded.line), most)
    return Redone(execution, outputs)


def recorded(run: Run, step: Step) -> Recorded:
    """What is on record of the calls that a step made."""
    return Recorded([event for event in run.events if getattr(event, "step", None) == step.number])


async def _redo(sandbox: Sandbox, run: Run, step: Step, done: Rebuilt, see: See | None) -> None:
    if isinstance(sandbox, NoSandbox):
        return  # its steps are calls of the host's functions, and those are not made again
    which = f"Step {step.number} of {run.task.splitlines()[0][:60]!r}" if run.task else f"Step {step.number}"
    was_answer = run.answered is not None and run.answered.step == step.number  # given when the code had ended
    if step.decided is None or step.outcome == "denied" or not (step.finished or was_answer):
        return
    if getattr(step.finished, "state_lost", False):
        await sandbox.restart()
        return
    if step.outcome not in ("ok", "error") and not was_answer:
        done.notes.append(f"{which} had not run to its end, so what it had done by then is missing.")
        return
    answers = recorded(run, step)
    again = await redo(sandbox, run, step, answers)
    done.steps += 1
    for prompt in answers.hidden:
        done.notes.append(f"{which} asked for a hidden line ({prompt}), which is on no record; it got an empty one.")
    if see:
        await see(run, step, again, answers.differs)
        return
    if not isinstance(again.execution, Finished | Failed):
        done.notes.append(f"{which} did not end as it had: {_how(again)}.")
    elif _failure(again.outputs) != _failure(step.outputs):
        done.notes.append(f"{which} ended otherwise than at first: {_how(again)}.")
    elif _shown(again.outputs) != _shown(step.outputs):
        done.notes.append(f"{which} showed something else than at first; its variables may differ, too.")
    if answers.differs:
        done.notes.append(f"{which} called {', '.join(sorted(set(answers.differs)))} otherwise than at first.")


async def _hand_over(sandbox: Sandbox, run: Run, folder: Path, done: Rebuilt, *, is_foreign: bool) -> None:
    """Bring the files that the run was given. Whoever does not know what is in a file gets no byte of it."""
    assert run.started is not None
    for file in run.started.files:
        path = folder / file.name
        if not _is_inside(path, folder):
            done.notes.append(f"The file {file.name} is not there.")
            continue
        try:
            now = await asyncio.to_thread(file_facts, path, file.name)
            if is_foreign and now.sha256 != file.sha256:
                done.notes.append(f"The file {file.name} is not what it was, so it was not handed over.")
                continue
            await sandbox.bring([path], folder)
        except WorkspaceError:
            done.notes.append(f"The file {file.name} can't be read.")
            continue
        if now.sha256 != file.sha256:
            done.notes.append(f"The file {file.name} is not what it was.")


def _is_inside(path: Path, folder: Path) -> bool:
    """True for a regular file in the folder: a record from elsewhere may name any file of the person."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # a loop of links, a null byte
        return False


def _same(known: ToolCalled, call: Call) -> bool:
    return _plain([known.args, known.kwargs]) == _plain([call.args, call.kwargs])


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _failure(outputs: Sequence[CellOutput]) -> tuple[str, str] | None:
    failed = next((output for output in reversed(outputs) if isinstance(output, Failure)), None)
    return (failed.ename, failed.evalue) if failed else None


def _shown(outputs: Sequence[CellOutput]) -> Json:
    return [plain_text(output) for output in outputs if not isinstance(output, Failure)]


def _how(again: Redone) -> str:
    failed = _failure(again.outputs)
    return f"{failed[0]}: {failed[1]}" if failed else type(again.execution).__name__.lower()
