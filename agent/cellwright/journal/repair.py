"""A damaged journal, saved as far as it goes: whole events, up to the last good one of each run.

The rows are taken out of the file's pages one by one (`pages.py`), so it does not matter which page is gone, not even
the first. What is taken for an event is proved by the run's hash chain; so nothing comes into the new file that was not
written into the old one. The damaged file is kept beside it, under a name with the date.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ..chain import GENESIS, blob_names, digest, link, stored
from ..errors import JournalError
from ..events import RunStarted
from ..record import Line
from ..wire import from_json
from .failures import explain
from .held import Holds
from .pages import Row, rows
from .reading import damage
from .schema import APPLICATION_ID, MIGRATIONS, open_file, transaction
from .search import fill

_SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was saved, and what was lost as far as the file still tells."""

    runs: int
    """With at least one event saved."""
    events: int
    lost_runs: int
    lost_events: int
    """At least so many; what was on a page that is gone left no trace."""
    kept: Path | None
    """Where the damaged file is now; None when nothing was damaged and nothing was done."""


@dataclass(slots=True)
class _Run:
    """What the pages hold of one run."""

    number: int | None = None
    before: set[str] = field(default_factory=set)
    lines: dict[int, set[Line]] = field(default_factory=dict)
    """Number of an event -> what may be it."""
    plain: dict[int, str] = field(default_factory=dict)
    """Number of an event -> its body, in a journal of form 1, which had no links."""
    known: set[int] = field(default_factory=set)
    """Numbers of events that there were."""


async def repair(path: Path | str) -> Repaired:
    """Write what can be read of the journal into a new one in its place. Raises `JournalError`."""
    return await asyncio.to_thread(_repair, Path(path))


def _repair(path: Path) -> Repaired:
    if not path.exists():
        raise JournalError(f"There is no journal {path} to repair.")
    holds = Holds(path)
    try:
        if not holds.take_all():
            raise JournalError(
                f"Another process has {path} open. Close it (a notebook's kernel, perhaps) and try again."
            )
        return _if_whole(path) or _save(path)
    except (sqlite3.Error, OSError) as error:
        raise JournalError(explain(error, str(path))) from error
    finally:
        holds.close()


def _if_whole(path: Path) -> Repaired | None:
    """The counts of a journal that has no damage; None for one that has."""
    # Read only: to open it otherwise would write the log into a file whose state is to be kept as it is.
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            owner = db.execute("PRAGMA application_id").fetchone()[0]
            if version > len(MIGRATIONS) and owner == APPLICATION_ID:
                raise _NotForUs(f"The journal {path} was written by a newer Cellwright. Update Cellwright.")
            if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                return None
            if version == 1:
                bodies = [body for (body,) in db.execute("SELECT body FROM events")]
                ids = db.execute("SELECT DISTINCT run_id FROM events").fetchall()
                for body in bodies:
                    from_json(body)
                return Repaired(len(ids), len(bodies), 0, 0, None)
            ids = db.execute("SELECT run_id FROM runs").fetchall()
            if any(damage(db, run_id) for (run_id,) in ids):
                return None
            return Repaired(len(ids), db.execute("SELECT count(*) FROM events").fetchone()[0], 0, 0, None)
    except (sqlite3.DatabaseError, ValueError):
        return None


class _NotForUs(JournalError):
    """Nothing is damaged; it is only not readable here."""


def _save(path: Path) -> Repaired:
    runs, blobs = _scan(rows(path))
    new = path.with_name(path.name + "-repaired")
    _remove(new)
    try:
        saved = _write(new, runs, blobs)
        if not any(saved.values()):
            raise JournalError(f"{path} holds no run that can be saved. Move it away, and a new journal is begun.")
        kept = _free_name(path)
        for suffix in _SUFFIXES:
            old = path.with_name(path.name + suffix)
            if old.exists():
                old.rename(kept.with_name(kept.name + suffix))
        new.rename(path)
    except BaseException:  # half a file must not stay behind; it is raised again
        _remove(new)
        raise
    count = sum(saved.values())
    known = sum(len(run.known) for run in runs.values())
    return Repaired(len(saved), count, len(runs) - len(saved), known - count, kept)


def _scan(found: Iterable[Row]) -> tuple[dict[str, _Run], dict[str, str]]:
    """What the rows say: of each run, and the long texts."""
    runs: dict[str, _Run] = defaultdict(_Run)
    blobs: dict[str, str] = {}
    for row in found:
        match row.values:
            case [str(run_id), int(seq), str(), int() | float(), str(one), str(body)] if body.startswith("{"):
                runs[run_id].lines.setdefault(seq, set()).add(Line(one, body))
                runs[run_id].known.add(seq)
            case [str(run_id), int(seq), str(), int() | float(), str(body)] if body.startswith("{"):
                runs[run_id].plain[seq] = body
                runs[run_id].known.add(seq)
            case [str(run_id), int(seq), int()] if row.number is None:  # of the index over run and number
                runs[run_id].known.add(seq)
            case [None, str(run_id), str(before)] if len(before) == len(GENESIS):
                runs[run_id].number = row.number
                runs[run_id].before.add(before)
            case [str(name), str(text)] if digest(text) == name:
                blobs[name] = text
    return runs, blobs


def _write(new: Path, runs: Mapping[str, _Run], blobs: dict[str, str]) -> dict[str, int]:
    """Make the new file; how many events of each run are in it."""
    links = {line.link for run in runs.values() for lines in run.lines.values() for line in lines}
    ordered = sorted(runs.items(), key=lambda item: (item[1].number or 1 << 62, _start(item[1])))
    saved: dict[str, int] = {}
    last: dict[str, str] = {}
    with closing(open_file(new)) as db:
        with transaction(db):
            for run_id, run in ordered:
                before, lines = _chain(run, links, blobs) if run.lines else _linked(run, last, blobs)
                if not lines:
                    continue
                saved[run_id] = len(lines)
                db.execute("INSERT INTO runs (run_id, before) VALUES (?, ?)", (run_id, before))
                for line in lines:
                    event = json.loads(line.body)
                    row = (run_id, event["seq"], event["kind"], event["time"], line.link, line.body)
                    db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
                    names = [(name, blobs[name]) for name in blob_names(line.body)]
                    db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", names)
            fill(db)
        db.execute("PRAGMA journal_mode = DELETE")  # one file, to be renamed; who opens it next brings the log back
    return saved


def _chain(run: _Run, links: set[str], blobs: Mapping[str, str]) -> tuple[str, list[Line]]:
    """What the run takes up, and its events as far as each fits the one before."""
    before = begun = _beginning(run, links)
    lines: list[Line] = []
    for seq in sorted(run.lines):
        fits = (line for line in run.lines[seq] if link(before, line.body) == line.link)
        line = next((line for line in fits if set(blob_names(line.body)) <= set(blobs)), None)
        if line is None:
            break
        lines.append(line)
        before = line.link
    return begun, lines


def _beginning(run: _Run, links: set[str]) -> str:
    first = run.lines[min(run.lines)]
    # Where the page that says it is gone, it is one of the links there are.
    for before in (*run.before, GENESIS, *links):
        if any(link(before, line.body) == line.link for line in first):
            return before
    return GENESIS


def _linked(run: _Run, last: dict[str, str], blobs: dict[str, str]) -> tuple[str, list[Line]]:
    """The events of a journal of form 1, as far as they can be read one after another, with a chain made for them."""
    lines: list[Line] = []
    before = begun = conversation = ""
    for seq in sorted(run.plain):
        try:
            event = from_json(run.plain[seq])
        except ValueError:
            break
        if event.seq != len(lines):
            break
        if isinstance(event, RunStarted):
            conversation = event.conversation
            before = begun = last.get(conversation, GENESIS)
        kept = stored(event)
        before = link(before, kept.body)
        lines.append(Line(before, kept.body))
        blobs.update(kept.blobs)
    last[conversation] = before
    return begun, lines


def _start(run: _Run) -> float:
    """When the run began, to keep runs in order; 0 where that is not known."""
    bodies = [line.body for line in run.lines.get(0, ())] + ([run.plain[0]] if 0 in run.plain else [])
    for body in bodies:
        try:
            return float(json.loads(body)["time"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0.0


def _free_name(path: Path) -> Path:
    day = time.strftime("%Y-%m-%d-%H%M%S")
    names = (path.with_name(f"{path.stem}.damaged-{day}{extra}{path.suffix}") for extra in ("", *map(str, range(9))))
    return next(name for name in names if not name.exists())


def _remove(path: Path) -> None:
    for suffix in (*_SUFFIXES, "-held"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
