"""The audit notebook of a run on record: its conversation up to it, and what it called, written to a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExportError, UsageError
from ..record import Record

if TYPE_CHECKING:
    from ..journal import Journal
    from ..run import Run


async def records_up_to(journal: Journal, run: Run) -> list[Record]:
    """The records of the conversation until `run`, those of agents that were called as tools behind their callers.

    Raises `JournalError`.
    """
    assert run.started is not None
    told: list[Record] = []
    for record in await journal.records(run.started.conversation):
        called = [await journal.record(other.id) for other in await journal.called_by(record.run.id)]
        told += [record, *called]
        if record.run.id == run.id:
            break
    return told


async def write_export(
    journal: Journal,
    run: Run,
    target: Path | None,
    *,
    report: bool = False,
    html: bool = False,
    max_output: int | None = None,
    is_signed: bool = False,
) -> Path:
    """Write the run's notebook, or page, to `target`, by default into the current folder; where it is.

    Options as for `export.notebook`. Raises `ExportError`, `SigningError`, `UsageError`.
    """
    from ..signing import own_signature
    from .export import write, write_html

    html = html or (target is not None and target.suffix in (".html", ".htm"))
    if html and is_signed:
        raise UsageError("A page holds no record that could be signed: leave out --sign or --html.")
    target = target or Path(f"cellwright-{run.id}.{'html' if html else 'ipynb'}")
    ending = ".html" if html else ".ipynb"
    if target.suffix not in (ending, ending.removesuffix("l")):
        raise ExportError(f"{target}: the name of a {'page' if html else 'notebook'} ends in {ending}.")
    records = await records_up_to(journal, run)
    if html:
        await asyncio.to_thread(write_html, records, target, report=report, max_output=max_output)
    else:
        signature = own_signature(records) if is_signed else None
        await asyncio.to_thread(write, records, target, report=report, max_output=max_output, signature=signature)
    return target
