"""`%agent export` and `%agent verify`: the audit notebook of a run, and whether one is what was written."""

from __future__ import annotations

from pathlib import Path

import click

from cellwright.audit_options import export_options, verify_options
from cellwright.errors import UsageError
from cellwright.options import existing_file, file_names
from cellwright.outputs import Json
from cellwright.run_tables import steps_table

from .command_table import command
from .session import Session
from .tables import Code, Link, Said, Stack, Table


@command(
    click.Argument(["path"], required=False, shell_complete=file_names),
    click.Option(["--run"], help="A run's id; the last one by default."),
    *export_options(),
)
async def export(session: Session, path: str | None, run: str | None, **how: Json) -> object:
    """Write the conversation as an audit notebook, or as a page: `%agent export audit.ipynb --sign`."""
    from cellwright.notebook.conversation import write_export

    if run is None:
        done = await session.conversation()
        if not done:
            raise UsageError("There was no run yet, so there is nothing to export.")
        last = done[-1]
    else:
        last = await (session.journal.latest() if run == "latest" else session.journal.run(run))
    written = await write_export(session.journal, last, _target(path) if path else None, **how)
    if written.suffix == ".ipynb":
        return Said("It runs again under plain python3, without a model and without Cellwright:", Link(written))
    return Said("A page that needs no network:", Link(written))


@command(click.Argument(["notebook"], shell_complete=file_names), *verify_options())
async def verify(
    session: Session, notebook: str, no_run: bool, stamp: str | None, key: str | None, **flags: Json
) -> object:
    """Say whether a notebook is what was written, and whether its code still gives that: `%agent verify a.ipynb`."""
    from cellwright.notebook.stamp import write_stamped
    from cellwright.notebook.verify import fresh_sandbox
    from cellwright.notebook.verify import verify as check

    path, target = existing_file(notebook), _target(stamp) if stamp else None
    make = None if no_run else fresh_sandbox(session.settings_with(flags), flags)
    found = await check(path, make, journal=session.journal, key=key)
    parts: list[Table | Code | Said] = [Said(found.said, is_strong=True)]
    if found.changes:
        parts.append(Table(("changed", "how"), [(change.where, change.what) for change in found.changes]))
    if found.steps:
        parts.append(Table.of(steps_table(found)))
    facts = [("notebook", Link(path)), ("signed by", found.signer)]
    facts += [("record", f"{found.events:,} events, last link {found.last}"), *(("note", text) for text in found.notes)]
    if target:
        write_stamped(path, found, target)
        facts.append(("stamped copy", Link(target)))
    parts.append(Table(("", ""), facts))
    return Stack(parts)


def _target(name: str) -> Path:
    """The path to write to. Raises `UsageError` where there is no folder for it."""
    path = Path(name).expanduser()
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write {path.name} to.")
    return path
