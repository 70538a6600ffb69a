"""`cellwright verify`: is this notebook what was written, and does its code still give what it shows?

First the record is checked and the notebook compared with it (`inspection.py`). Then what ran to its end runs again, in
a fresh, isolated sandbox, tools answered from the record, and each output is compared with the one that stands there
(`likeness.py`). Nothing of the notebook runs in the process that verifies.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..chain import blob_names
from ..errors import one_line
from ..facts import SandboxFacts
from ..lineage import Part, holding
from ..outputs import CellOutput, Display, Json
from ..rebuild import Redone, rebuild
from ..record import SHOWN, Record, is_left_out
from ..run import Run, Step
from ..sandbox.base import Failed, Finished, Sandbox
from ..signing import SigningError
from .inspection import Change, Inspection, inspect, is_stamped
from .likeness import SAME, Degree, Likeness, compare_outputs, different
from .metadata import read_file

if TYPE_CHECKING:
    from ..journal import Journal
    from ..settings import Settings

MakeSandbox = Callable[[str], Sandbox]
"""Name of the recorded kernel -> a fresh sandbox."""

WORDS = ("same", "differs without harm", "differs")
"""Of what came again, by `Degree`."""


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

    @property
    def exit_status(self) -> int:
        """Of a process that verified: 0 the same, or without harm; 3 different; 4 changed."""
        return {Verdict.DIFFERENT: 3, Verdict.CHANGED: 4}.get(self, 0)


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

    @property
    def said(self) -> str:
        """The verdict in one line."""
        ran = sum(not step.note for step in self.steps)
        steps = f"{ran} step{'' if ran == 1 else 's'}"
        match self.verdict:
            case Verdict.CHANGED:
                count = len(self.changes)
                return f"Changed: this is not what was written ({count} change{'' if count == 1 else 's'})."
            case Verdict.DIFFERENT:
                count = sum(step.likeness.degree == Degree.DIFFERENT for step in self.steps)
                return f"As it was written; but of {steps} that ran again, {count} gave something else."
            case Verdict.HARMLESS:
                return f"As it was written; {steps} ran again, with differences that do no harm."
        if not self.was_run:
            return "As it was written. Its code was not run again."
        return f"As it was written; {steps} ran again, with the same outputs."

    @property
    def signer(self) -> str:
        """Who signed, in words."""
        if not self.signed_by:
            return "nobody"
        # The signature is over the chain's last links, which may fit although something before them does not.
        return self.signed_by + (", over the record as it was then, not over what was changed" if self.changes else "")

    def as_json(self) -> dict[str, Json]:
        """All of it as JSON data."""
        return {
            "verdict": self.verdict.name.lower(),
            "said": self.said,
            "changes": [{"where": change.where, "what": change.what} for change in self.changes],
            "steps": [
                {
                    "where": step.where,
                    "output": step.likeness.degree.name.lower(),
                    "reasons": list(step.likeness.reasons),
                    "note": step.note,
                }
                for step in self.steps
            ],
            "notes": list(self.notes),
            "events": self.events,
            "last_link": self.last,
            "signed_by": self.signed_by or None,
            "was_run": self.was_run,
        }


async def verify(
    path: Path | str, make_sandbox: MakeSandbox | None, *, journal: Journal | None = None, key: str | None = None
) -> Verification:
    """Verify an audit notebook. make_sandbox: None does not run it again. journal: where its runs may be, too.

    key: fingerprint of the key that must have signed it. Files are looked for beside the notebook. Raises `NoRecord`
    for a file that is none, `SandboxUnavailable`, and with a key `SigningError` where signatures can't be checked.
    """
    book = await asyncio.to_thread(read_file, path)
    found = await asyncio.to_thread(inspect, book)
    otherwise, said = await _against(journal, found.records) if journal else ([], [])
    changes = [*found.changes, *_by_whom(found, key), *otherwise]
    steps: list[Checked] = []
    notes = [found.note, *said] if found.note else said
    if is_stamped(book):
        notes.append("It bears the stamp of an earlier check, which is no part of the record and proves nothing.")
    can_run = make_sandbox is not None
    if make_sandbox and _has_gaps(found.records):
        can_run = False
        notes.append("Its code was not run again: the record no longer holds all that went into it.")
    elif make_sandbox:
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
        can_run,
    )


def fresh_sandbox(settings: Settings, flags: Collection[str] | Mapping[str, Json]) -> MakeSandbox:
    """Makes sandboxes for what is verified: somebody else's code, so never less isolated than by default.

    Unless the person says so now: flags are what was said for this check, by name. The recorded kernel is taken where
    one of that name runs Python here, else the one of the settings.
    """
    from ..sandbox.child import ChildKernel

    given = {name for name in flags if not isinstance(flags, Mapping) or flags[name] not in (None, ())}
    isolation = settings.isolation
    if isolation.level == "process" and "isolation" not in given:
        isolation = replace(isolation, level="auto")
    if isolation.network != "none" and "network" not in given:
        isolation = replace(isolation, network="none")

    def make(kernel_name: str) -> Sandbox:
        named = kernel_name if "kernel_name" not in given and _runs_python(kernel_name) else settings.kernel_name
        return ChildKernel(named, output_bytes=settings.limits.output_bytes, isolation=isolation)

    return make


def _runs_python(kernel_name: str) -> bool:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return KernelSpecManager().get_kernel_spec(kernel_name).language.lower() == "python"
    except (NoSuchKernel, OSError, ValueError):  # the name comes out of the notebook
        return False


def _has_gaps(records: Sequence[Record]) -> bool:
    """Whether a long text is missing that would run again, be put in or be answered; outputs are only compared."""
    lines = ((record.blobs, line.body) for record in records for line in record.lines)
    missing = (
        body
        for blobs, body in lines
        if any(name not in blobs or is_left_out(blobs[name], name) for name in blob_names(body))
    )
    return any(json.loads(body).get("kind") not in SHOWN for body in missing)


def _by_whom(found: Inspection, key: str | None) -> list[Change]:
    """Whether it was signed by the key that was asked for. Raises `SigningError` where that can't be told."""
    if key is None or found.signed_by == key:
        return []
    if found.note:
        raise SigningError(found.note)
    what = f"it is by the key {found.signed_by}" if found.signed_by else "there is none that fits"
    return [Change("signature", f"{what}, not by {key}")]


async def _against(journal: Journal, records: Sequence[Record]) -> tuple[list[Change], list[str]]:
    """What the journal of this machine knows otherwise, and notes; nothing where it does not know the runs."""
    from ..errors import JournalError

    changes, notes = [], []
    for record in records:
        try:
            known = await journal.record(record.run.id)
        except JournalError:
            continue  # it was made elsewhere, or is gone: the notebook speaks for itself
        if known.note:
            run = one_line(record.run.id, 40)
            notes.append(f"Run {run} was not compared with this machine's journal, which is damaged: {known.note}")
            continue
        links = [line.link for line in known.lines]
        if record.last not in links:
            changes.append(Change(f"run {record.run.id}", "the journal of this machine holds another record of it"))
    return changes, notes


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
        notes.append(f"The kernel was {then.kernel_name}, which was not taken here; {now.kernel_name} was.")
    if then.network != now.network:
        notes.append(f"The network was {then.network}, here it is {now.network}.")
    return notes
