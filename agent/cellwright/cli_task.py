"""A task at the command line: the agent with what it is given, each step shown, Ctrl-C, how it ended.

`run` begins a task and `resume` goes on with one; both do it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import ExportError
from .outputs import Json

if TYPE_CHECKING:
    from rich.console import Console

    from .agent import CodeAgent
    from .approval import Approval
    from .console import ConsoleView
    from .events import Event
    from .journal import Journal
    from .run import Run
    from .sandbox.child import ChildKernel
    from .settings import Settings
    from .tools import Tool


@dataclass(frozen=True, slots=True)
class Given:
    """What a task is given besides its text."""

    files: Sequence[Path] = ()
    images: Sequence[Path] = ()
    mcp_file: str | None = None
    tools: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """Where the steps are shown, and what is made of them at the end."""

    as_json: bool = False
    export_to: Path | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """What is to be done."""

    events: AsyncGenerator[Event]
    """As they happen."""
    before: Sequence[Event] = ()
    """Those of the same run that are on record already."""


Begin = Callable[["CodeAgent", "Settings", "Console"], Awaitable[Begun]]


def given_options() -> list[click.Option]:
    """What `run` and `resume` take alike, besides settings."""
    return [
        click.Option(["--mcp", "mcp_file"], help="A file of MCP servers, as editors write it."),
        click.Option(["--tools"], help="Tools that come along, e.g. web_search,visit_webpage."),
        click.Option(["--export", "export_to"], help="Write the audit notebook to this path."),
        click.Option(
            ["--json", "as_json"], is_flag=True, help="Print one line of JSON, and nothing else, when it is done."
        ),
    ]


async def do(begin: Begin, given: Given, flags: dict[str, Json], shown: Shown) -> int:
    """Do it, show it, and say by the exit status how it ended."""
    from rich.console import Console

    from .agent import CodeAgent
    from .console import ConsoleView
    from .mcp import McpServers, read_file
    from .models import rates
    from .models.choice import choose
    from .models.sight import must_see
    from .notebook.conversation import write_export
    from .sandbox.child import ChildKernel
    from .settings import gather

    settings = gather(flags)
    # With --json the steps can still be watched: in a terminal, on stderr.
    console = Console(stderr=shown.as_json, quiet=shown.as_json and not sys.stderr.isatty(), highlight=False)
    choice = await choose(settings.model)
    rates.as_set(choice.model, settings)
    if given.images:
        await must_see(choice.model)
    sandbox = ChildKernel(settings.kernel_name, output_bytes=settings.limits.output_bytes, isolation=settings.isolation)
    journal = journal_of(settings)
    async with McpServers(on_note=lambda note: console.print(note, markup=False)) as servers:
        if given.mcp_file:
            await servers.add_all(read_file(given.mcp_file))
        tools = [*_lent(given.tools, settings, journal, sandbox), *servers.tools.values()]
        async with CodeAgent(
            choice.model,
            tools=tools,
            sandbox=sandbox,
            instructions=settings.instructions,
            journal=journal,
            limits=settings.limits,
            approve=_approval(settings, console),
        ) as agent:
            agent.warm_up()
            done = await _watched(agent, await begin(agent, settings, console), ConsoleView(console))
            if shown.export_to:
                await write_export(journal, done, shown.export_to)
                console.print(f"Audit notebook: {shown.export_to}", markup=False, soft_wrap=True)
    if shown.as_json:
        click.echo(_as_json(done))
    return {"success": 0, "interrupted": 130}.get(done.status, 1)


def _approval(settings: Settings, console: Console) -> Approval:
    from .approval import Approval
    from .approval_prompt import by_terminal

    ask = by_terminal(lambda text: console.print(text, markup=False, soft_wrap=True))
    return Approval(settings.approve, ask, least=settings.approve_min)


def _lent(names: str | None, settings: Settings, journal: Journal, sandbox: ChildKernel) -> list[Tool]:
    from .toolbox import Lent, toolbox_by_name

    tools = toolbox_by_name(names.split(","), Lent(sandbox=sandbox, folder=sandbox.workspace)) if names else []
    if settings.recall:
        from .recall import RecallTool

        tools.append(RecallTool(journal))
    return tools


async def _watched(agent: CodeAgent, begun: Begun, view: ConsoleView) -> Run:
    """Let the agent do its task, showing it; Ctrl-C stops it and keeps what was done."""
    from .run import Run

    done = Run(begun.before)
    with _on_interrupt(agent):
        try:
            view.wait("starting")
            async with aclosing(begun.events) as events:
                async for event in events:
                    if not event.is_live:
                        done.add(event)
                    view.take(event)
        finally:
            view.close()
    return done


@contextlib.contextmanager
def _on_interrupt(agent: CodeAgent) -> Iterator[None]:
    """Let the first Ctrl-C stop the run, and a second one everything."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    presses = 0

    def interrupt() -> None:
        nonlocal presses
        presses += 1
        if agent.is_working and presses == 1:
            agent.stop()
        else:
            this.cancel()

    handled = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows; Ctrl-C then ends the process
            loop.add_signal_handler(number, interrupt)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _as_json(done: Run) -> str:
    totals = done.totals
    facts = {
        "answer": done.answer,
        "status": done.status,
        "reason": done.reason,
        "steps": totals.steps,
        "tokens": totals.usage.total,
        "cost": totals.cost if totals.cost_known else None,
        "seconds": round(totals.seconds, 3),
        "run_id": done.id,
    }
    return json.dumps(facts, ensure_ascii=True, default=str)


# ---- the journal, and where is written to ----------------------------------------------------------------------------


def journal_of(settings: Settings) -> Journal:
    """The journal that settings name; it is opened when it is first needed."""
    from .journal import Journal, default_path

    return Journal(settings.journal or default_path())


def with_journal(work: Callable[[Journal], Coroutine[Any, Any, int]]) -> int:
    """Do something with the journal; what is wrong with it is said on stderr."""
    from .settings import gather

    async def opened() -> int:
        journal = journal_of(gather())
        journal.on_note = lambda note: click.echo(f"Note: {note}", err=True)
        async with journal:
            return await work(journal)

    return asyncio.run(opened())


async def find(journal: Journal, run_id: str) -> Run:
    """The run of that id, of one that begins so, or the `latest`. Raises `JournalError`."""
    return await (journal.latest() if run_id == "latest" else journal.run(run_id))


def writable(name: str | None) -> Path | None:
    """The path to write to; asked before a task costs anything. Raises `ExportError`."""
    if name is None:
        return None
    path = Path(name).expanduser()
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.is_dir():
        raise ExportError(f"{name} is a folder. Name a file, e.g. {path / 'audit.ipynb'}.")
    if path.suffix not in (".ipynb", ".html", ".htm"):
        raise ExportError(f"{name}: the name of a notebook ends in .ipynb, that of a page in .html.")
    return path
