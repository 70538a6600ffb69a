"""`cellwright export`, `verify` and `resume`: a run as a proof, the proof checked, a run taken up again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .audit_options import export_options, verify_options
from .cli_task import Begun, Given, Shown, do, find, given_options, journal_of, with_journal, writable
from .errors import UsageError
from .options import existing_file, settings_options
from .outputs import Json
from .settings import LIMITS

if TYPE_CHECKING:
    from rich.console import Console

    from .agent import CodeAgent
    from .journal import Journal
    from .notebook.verify import Verification
    from .run import Run
    from .settings import Settings


# ---- export ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run_id", metavar="RUN", required=False)
@click.argument("out", metavar="[OUT]", required=False)
@click.option("--make-key", is_flag=True, help="Make the key that signs; it says its fingerprint.")
def export(run_id: str | None, out: str | None, *, make_key: bool, **how: Json) -> int:
    """Write the audit notebook of RUN (an id, its beginning, or `latest`) and of what came before it.

    The notebook holds the conversation up to that run; it runs again without Cellwright, a key or a network.
    """
    if make_key:
        _make_key()
    if run_id is None:
        if make_key:
            return 0
        raise UsageError("Missing argument 'RUN': an id, its beginning, or `latest`.")
    wanted, wanted_run = writable(out), run_id

    async def export_run(journal: Journal) -> int:
        from .notebook.conversation import write_export

        click.echo(str(await write_export(journal, await find(journal, wanted_run), wanted, **how)))
        return 0

    return with_journal(export_run)


export.params.extend(export_options())


def _make_key() -> None:
    from .signing import make_key, sign

    path = make_key()
    click.echo(f"Your signing key is {path}. Tell others its fingerprint: {sign((), path).fingerprint}")


# ---- verify ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("notebook")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, and nothing else.")
def verify(notebook: str, *, as_json: bool, no_run: bool, stamp: str | None, key: str | None, **flags: Json) -> int:
    """Is NOTEBOOK what was written, and does its code still give what it shows?

    Exit status: 0 the same, but for harmless differences; 3 an output differs; 4 the notebook was changed.
    """
    path, target = existing_file(notebook), writable(stamp)
    found = asyncio.run(_verified(path, key, flags, no_run=no_run))
    if target:
        from .notebook.stamp import write_stamped

        write_stamped(path, found, target)
    if as_json:
        click.echo(json.dumps(found.as_json(), ensure_ascii=True))
    else:
        _print_verification(found)
        if target:
            click.echo(f"Stamped copy: {target}")
    return found.verdict.exit_status


verify.params.extend(verify_options())


async def _verified(path: Path, key: str | None, flags: Mapping[str, Json], *, no_run: bool) -> Verification:
    from .notebook.verify import fresh_sandbox, verify
    from .settings import gather

    settings = gather(flags)
    journal = journal_of(settings)
    if journal.path is None or not journal.path.exists():
        return await verify(path, None if no_run else fresh_sandbox(settings, flags), key=key)
    journal.on_note = lambda _: None  # what is wrong with the journal says nothing about the notebook
    try:
        return await verify(path, None if no_run else fresh_sandbox(settings, flags), journal=journal, key=key)
    finally:
        await journal.aclose()


def _print_verification(found: Verification) -> None:
    from .cli_runs import print_table
    from .console import printable, stdout_console
    from .run_tables import steps_table

    console = stdout_console()
    if found.steps:
        print_table(steps_table(found))
        console.print()
    for change in found.changes:
        console.print(f"changed  {printable(str(change))}", style="red", markup=False, soft_wrap=True)
    for note in found.notes:
        console.print(f"note     {printable(note)}", markup=False, soft_wrap=True)
    console.print(f"signed   by {found.signer}", markup=False, soft_wrap=True)
    console.print(f"record   {found.events:,} events, last link {found.last}", markup=False, soft_wrap=True)
    console.print(f"\n{found.said}", style="bold", markup=False, soft_wrap=True)


# ---- resume ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run_id", metavar="[RUN]", default="latest")
def resume(
    run_id: str, *, mcp_file: str | None, tools: str | None, export_to: str | None, as_json: bool, **flags: Json
) -> int:
    """Go on with RUN (an id, its beginning, or the latest): one that was cut off, or that ended without an answer.

    The sandbox is rebuilt without the model: what ran runs again, tools answer from the record.
    """
    shown = Shown(as_json, writable(export_to))

    async def begin(agent: CodeAgent, settings: Settings, console: Console) -> Begun:
        from .rewind import last_task
        from .rewind import resume as go_on

        journal = agent.open_journal()
        assert journal is not None
        run = await (last_task(journal, agent.origin) if run_id == "latest" else journal.run(run_id))
        _need_tools(run, agent)
        _show_past(run, agent, console)
        asked = any(settings.sources.get(name, "").startswith("--") for name in LIMITS)
        events = go_on(agent, run.id, limits=settings.limits if asked else None)
        # A run that was cut off goes on as itself; one that ended is branched.
        return Begun(events, () if run.ended else run.events)

    return asyncio.run(do(begin, Given((), (), mcp_file, tools), flags, shown))


resume.params.extend([*given_options(), *settings_options()])


def _need_tools(run: Run, agent: CodeAgent) -> None:
    """Raises `UsageError` when a tool that the run had is not given again."""
    had = [tool.name for tool in run.started.tools] if run.started else []
    missing = [name for name in had if name not in agent.tools]
    if not missing:
        return
    from .toolbox import TOOLBOX

    known = [name for name in missing if name in TOOLBOX]
    said = {
        "--tools " + ",".join(known): bool(known),
        "--recall": "recall" in missing,
        "--mcp FILE": bool(set(missing) - set(known) - {"recall"}),
    }
    how = ", ".join(option for option, is_meant in said.items() if is_meant)
    raise UsageError(f"Run {run.id} had tools that are not there now: {', '.join(missing)}. Give them again: {how}.")


def _show_past(run: Run, agent: CodeAgent, console: Console) -> None:
    from .console import printable
    from .errors import one_line

    def say(text: str) -> None:
        console.print(printable(text), style="dim", markup=False, soft_wrap=True)

    say(one_line(run.task, 200))
    for step in run.steps:
        say(f"Step {step.number}, {step.outcome or 'not ended'}: {one_line(step.thought or step.code, 100)}")
    if run.started and run.started.origin and run.started.origin != agent.origin:
        say("It was begun in another folder; files that it named are looked for in this one.")
