"""A run on record: its events in the form in which they are stored, each with its link in the hash chain.

What the journal hands out for an audit notebook, and what is made alike of runs that are in no journal. `Run` is made
to be read, a `Record` to be proved: whoever has one can compute every link again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .chain import GENESIS, blob_names, digest, link, links, restored, stored
from .run import Run

SHOWN = ("output", "answer_given")
"""Kinds of events of which an export may leave out long texts: they are only shown, never run or answered again."""
_LEFT_OUT = re.compile(r"\[left out: [\d,]+ bytes, SHA-256 ([0-9a-f]{64})\]")


@dataclass(frozen=True, slots=True)
class Line:
    """One event as it is stored."""

    link: str
    """SHA-256 of the link before it and of `body`."""
    body: str
    """The event as one line of JSON; a long text in it only by its SHA-256."""


@dataclass(frozen=True, slots=True)
class Record:
    """A run with its chain."""

    run: Run
    before: str
    """What the first link takes up: the last link, at that moment, of the conversation's run before; or `GENESIS`."""
    lines: Sequence[Line]
    blobs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 -> text, of all long texts that the bodies name."""
    note: str = ""
    """One line on what is missing because the journal was damaged; empty when all is there."""

    @property
    def last(self) -> str:
        """The run's last link."""
        return self.lines[-1].link if self.lines else self.before


def record_of(runs: Iterable[Run]) -> list[Record]:
    """The records of runs that are in no journal, in their order; a run takes up the one before of its conversation."""
    records: list[Record] = []
    last: dict[str, str] = {}
    for run in runs:
        kept = [stored(event) for event in run.events]
        conversation = run.started.conversation if run.started else ""
        before = last.get(conversation, GENESIS)
        bodies = [one.body for one in kept]
        lines = tuple(Line(*pair) for pair in zip(links(bodies, before), bodies, strict=True))
        blobs = {name: text for one in kept for name, text in one.blobs.items()}
        records.append(Record(run, before, lines, blobs))
        last[conversation] = records[-1].last
    return records


def left_out(name: str, size: int) -> str:
    """What stands for a long text that an export was told to leave out. name: its SHA-256; size: bytes."""
    return f"[left out: {size:,} bytes, SHA-256 {name}]"


def is_left_out(text: object, name: str = "") -> bool:
    """Whether `text` only stands for one that was left out; name: for the one of that SHA-256."""
    found = _LEFT_OUT.fullmatch(text) if isinstance(text, str) and len(text) < 200 else None
    return found is not None and name in ("", found[1])


def fault(record: Record) -> str | None:
    """The first thing in the record that is not as it was stored, in one line; None when all of it fits."""
    before = record.before
    for number, line in enumerate(record.lines):
        names = blob_names(line.body)
        may_lack = bool(names) and _is_shown(line.body)
        if line.link != link(before, line.body):
            return f"event {number} does not fit the chain"
        before = line.link
        for name in names:
            if name not in record.blobs:
                return f"a long text of event {number} is missing ({name[:12]}…)"
            text = record.blobs[name]
            if digest(text) != name and not (may_lack and is_left_out(text, name)):
                return f"a long text of event {number} was changed ({name[:12]}…)"
    return None


def _is_shown(body: str) -> bool:
    event = json.loads(body)
    return isinstance(event, dict) and event.get("kind") in SHOWN


def read(bodies: Iterable[str], blobs: Mapping[str, str]) -> Run:
    """The run whose events were stored so. Raises `ValueError` where one can't be read."""
    try:
        return Run(restored(body, blobs.__getitem__) for body in bodies)
    except KeyError as error:
        raise ValueError(f"the long text {error} is missing") from error
