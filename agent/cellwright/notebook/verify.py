"""`cellwright verify`: is this notebook what was written, and does its code still give what it shows?

First the record is checked and the notebook compared with it (`inspection.py`). Then what ran to its end runs again, in
a fresh, isolated sandbox, tools answered from the record, and each output is compared with the one that stands there
(`likeness.py`). Nothing of the notebook runs in the process that verifies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..facts import SandboxFacts
from ..lineage import Part, holding
from ..outputs import CellOutput, Display
from ..rebuild import Redone, rebuild
from ..record import Record
from ..run import Run, Step
from ..sandbox.base import Failed, Finished, Sandbox
from .inspection import Change, Inspection, inspect
from .likeness import SAME, Degree, Likeness, compare_outputs, different
from .metadata import read_file

if TYPE_CHECKING:
    from ..journal import Journal

MakeSandbox = Callable[[str], Sandbox]
"""Name of the recorded kernel -> a fresh sandbox."""


class Verdict(IntEnum):
    """What came of it, the worst last."""

    SAME = 0
    """As it was written, and every output came again as it was."""
    HARMLESS = 1
    """As it was written; outputs differ in times, addresses, ... only."""
    DIFFERENT = 2
    """As it was written; but the code gives something else now."""
    CHANGED = 3
    """Not as it was written."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One action that ran again, or why it did not."""

    where: str
    likeness: Likeness
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was found."""

    changes: Sequence[Change]
    steps: Sequence[Checked]
    notes: Sequence[str]
    """What differs between the machines, and what could not be brought back."""
    events: int
    last: str
    """Last link of the newest run."""
    signed_by: str
    was_run: bool

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        if self.changes:
            return Verdict.CHANGED
        return Verdict(max((step.likeness.degree for step in self.steps), default=Degree.SAME))


async def verify(path: Path | str, make_sandbox: MakeSandbox | None, *, journal: Journal | None = None) -> Verification:
    """Verify an audit notebook. make_sandbox: None does not run it again. journal: where its runs may be, too.

    Files are looked for beside the notebook. Raises `NoRecord` for a file that is none, `SandboxUnavailable`.
    """
    found = await asyncio.to_thread(lambda: inspect(read_file(path)))
    changes = [*found.changes, *(await _against(journal, found.records) if journal else ())]
    steps: list[Checked] = []
    notes = [found.note] if found.note else []
    if make_sandbox:
        folder = await asyncio.to_thread(lambda: Path(path).resolve().parent)
        more, said = await _run_again(found, make_sandbox, folder)
        steps, notes = more, [*notes, *said]
    newest = found.records[-1]
    return Verification(
        changes,
        steps,
        notes,
        sum(len(record.lines) for record in found.records),
        newest.last,
        found.signed_by,
        make_sandbox is not None,
    )


async def _against(journal: Journal, records: Sequence[Record]) -> list[Change]:
    """What the journal of this machine knows otherwise; nothing where it does not know the runs."""
    from ..errors import JournalError

    changes = []
    for record in records:
        try:
            known = await journal.record(record.run.id)
        except JournalError:
            continue  # it was made elsewhere, or is gone: the notebook speaks for itself
        links = [line.link for line in known.lines]
        if record.last not in links:
            changes.append(Change(f"run {record.run.id}", "the journal of this machine holds another record of it"))
    return changes


# ---- again ----------------------------------------------------------------------------------------------------------


async def _run_again(found: Inspection, make: MakeSandbox, folder: Path) -> tuple[list[Checked], list[str]]:
    """Run the conversation's code again: what held, in order."""
    runs = [record.run for record in found.records if record.run.started and not record.run.started.caller]
    parts = holding(runs)
    first = next((run.started.sandbox for run in runs if run.started and run.started.sandbox), None)
    if first is None or first.kind == "none":
        return [], ["No code ran, only functions of the host were called; there is nothing to run again."]
    steps: list[Checked] = []

    async def see(run: Run, step: Step, again: Redone, differs: Sequence[str]) -> None:
        steps.append(Checked(_where(run, step), _likeness(run, step, again, differs)))

    sandbox = make(first.kernel_name)
    try:
        now = await sandbox.start()
        rebuilt = await rebuild(sandbox, parts, folder, see)
    finally:
        await sandbox.close()
    return [*steps, *_not_run(parts)], [*_environment(first, now), *rebuilt.notes]


def _likeness(run: Run, step: Step, again: Redone, differs: Sequence[str]) -> Likeness:
    if not isinstance(again.execution, Finished | Failed):
        return different(f"it did not end: {type(again.execution).__name__}")
    then, now = list(step.outputs), list(again.outputs)
    answered = run.answered
    if answered and answered.confirmed and answered.step == step.number:
        then.append(Display(answered.data, answered.metadata))
    if again.execution.answer:
        now.append(Display(again.execution.answer.data, again.execution.answer.metadata))
    found = compare_outputs(_failures_last(then), _failures_last(now))
    for name in dict.fromkeys(differs):
        found &= different(f"it called {name} otherwise than at first")
    return found


def _failures_last(outputs: Sequence[CellOutput]) -> list[CellOutput]:
    return sorted(outputs, key=lambda output: type(output).__name__ == "Failure")


def _not_run(parts: Sequence[Part]) -> list[Checked]:
    return [
        Checked(_where(part.run, step), SAME, f"not run again: {step.outcome or 'it had not ended'}")
        for part in parts
        for step in part.steps
        if step.code and step.outcome not in ("ok", "error")
    ]


def _where(run: Run, step: Step) -> str:
    return f"run {run.id}, step {step.number}"


def _environment(then: SandboxFacts, now: SandboxFacts) -> list[str]:
    """In what the sandbox differs from the recorded one."""
    notes = []
    if then.python != now.python:
        notes.append(f"Python was {then.python}, here it is {now.python}.")
    for name, version in then.packages.items():
        here = now.packages.get(name)
        if here != version:
            notes.append(f"{name} was {version}, here it is {here or 'missing'}.")
    if then.kernel_name != now.kernel_name:
        notes.append(f"The kernel was {then.kernel_name}, here it is {now.kernel_name}.")
    if then.network != now.network:
        notes.append(f"The network was {then.network}, here it is {now.network}.")
    return notes
