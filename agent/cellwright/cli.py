"""The command line: `cellwright run "task"`, and what belongs around it.

Every mistake is one line on stderr: exit status 2 for a wrong word, 1 for what went wrong, 130 after Ctrl-C. Commands
of other packages come in by the entry point group `cellwright.commands`; that is how `cellwright install` gets here
without the agent knowing the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__
from .cli_machine import doctor, model
from .errors import CellwrightError, ExportError, UsageError
from .options import existing_file, one_line_of, settings_options
from .outputs import Json

if TYPE_CHECKING:
    from .agent import CodeAgent
    from .console import ConsoleView
    from .events import Event
    from .journal import Journal
    from .run import Run
    from .settings import Settings

PLUGINS = "cellwright.commands"
"""Entry point group: name of a command -> a click command."""


class _Commands(click.Group):
    """Commands of this module and of the packages above it; a wrong word names the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in _plugins():
            self.add_command(metadata.entry_points(group=PLUGINS)[cmd_name].load(), cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx)) from None


def _plugins() -> frozenset[str]:
    return frozenset(metadata.entry_points(group=PLUGINS).names)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit status."""
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    try:
        return int(cellwright.main(arguments, prog_name="cellwright", standalone_mode=False) or 0)
    except click.ClickException as error:
        return _complain(one_line_of(error), error.exit_code)
    except UsageError as error:
        return _complain(str(error), 2)
    except CellwrightError as error:
        return _complain(str(error), 1)
    except (click.Abort, KeyboardInterrupt, asyncio.CancelledError):
        return _complain("Interrupted.", 130)
    except BrokenPipeError:
        # `cellwright runs | head`: nobody reads on. stdout is replaced, or Python complains when it is flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(text: str, status: int) -> int:
    click.echo(f"Error: {text}", err=True)
    return status


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="cellwright", message="%(prog)s %(version)s")
@click.pass_context
def cellwright(ctx: click.Context) -> None:
    """A code agent for Jupyter: tasks in plain language, every run on record."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


# ---- a task ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("task")
@click.option("--file", "-f", "files", multiple=True, help="A file that the task is about; may be given several times.")
@click.option("--image", "-i", "images", multiple=True, help="An image for the model; may be given several times.")
@click.option("--mcp", "mcp_file", help="A file of MCP servers, as editors write it.")
@click.option("--tools", "tools", help="Tools that come along, e.g. web_search,visit_webpage.")
@click.option("--export", "export_to", help="Write the audit notebook to this path.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON, and nothing else, when it is done.")
def run(
    task: str,
    *,
    files: tuple[str, ...],
    images: tuple[str, ...],
    mcp_file: str | None,
    tools: str | None,
    export_to: str | None,
    as_json: bool,
    **flags: Json,
) -> int:
    """Do TASK and print each step as it happens.

    The code that the model writes runs in a sandbox. It reads copies of the files that TASK names, or --file, and
    writes to a folder of its own; it has no network.
    """
    target = _writable(export_to)
    pictures = [existing_file(name) for name in images]
    given = Given([existing_file(name) for name in files], pictures, mcp_file, tools)
    return asyncio.run(_do(task, given, flags, target, as_json=as_json))


run.params.extend(settings_options())
cellwright.add_command(run)


@dataclass(frozen=True, slots=True)
class Given:
    """What a task is given besides its text."""

    files: Sequence[Path]
    images: Sequence[Path]
    mcp_file: str | None
    tools: str | None


async def _do(task: str, given: Given, flags: dict[str, Json], target: Path | None, *, as_json: bool) -> int:
    from rich.console import Console

    from .agent import CodeAgent
    from .console import ConsoleView
    from .images import as_images
    from .mcp import McpServers, read_file
    from .models import rates
    from .models.choice import choose
    from .models.sight import must_see
    from .sandbox.child import ChildKernel
    from .settings import gather
    from .toolbox import Lent, toolbox_by_name

    settings = gather(flags)
    # With --json the steps can still be watched: in a terminal, on stderr.
    console = Console(stderr=as_json, quiet=as_json and not sys.stderr.isatty(), highlight=False)
    choice = await choose(settings.model)
    rates.as_set(choice.model, settings)
    images = await as_images(given.images)
    if images:
        await must_see(choice.model)
    sandbox = ChildKernel(settings.kernel_name, output_bytes=settings.limits.output_bytes, isolation=settings.isolation)
    journal = _journal(settings)
    lent = Lent(sandbox=sandbox, folder=sandbox.workspace)
    tools = toolbox_by_name(given.tools.split(","), lent) if given.tools else []
    async with McpServers(on_note=lambda note: console.print(note, markup=False)) as servers:
        if given.mcp_file:
            await servers.add_all(read_file(given.mcp_file))
        tools = [*tools, *servers.tools.values()]
        agent = CodeAgent(
            choice.model, tools=tools, sandbox=sandbox, instructions=settings.instructions, journal=journal
        )
        async with agent:
            agent.warm_up()
            task = _with_files(task, await sandbox.bring(given.files))
            events = agent.stream(task, limits=settings.limits, images=images)
            done = await _watched(agent, events, ConsoleView(console))
    if target:
        _write([done], target)
        console.print(f"Audit notebook: {target}", markup=False, soft_wrap=True)
    if as_json:
        click.echo(_as_json(done))
    return {"success": 0, "interrupted": 130}.get(done.status, 1)


async def _watched(agent: CodeAgent, events: AsyncGenerator[Event], view: ConsoleView) -> Run:
    """Let the agent do its task, showing it; Ctrl-C stops it and keeps what was done."""
    from .run import Run

    done = Run()
    with _on_interrupt(agent):
        try:
            view.wait("starting")
            async with aclosing(events):
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


def _with_files(task: str, names: Sequence[str]) -> str:
    """The task, with a line for each file that it does not name itself."""
    if not task.strip():
        return task  # the agent says what is wrong with it
    for name in names:
        if name not in task:
            task = f"{task.rstrip()}\nFile: {name}"
    return task


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


# ---- what was done ---------------------------------------------------------------------------------------------------


@cellwright.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
def runs(limit: int) -> int:
    """List the runs that are on record, newest first."""

    async def list_runs(journal: Journal) -> int:
        from datetime import datetime

        from .console import literal, new_table, price, printable, stdout_console
        from .errors import one_line

        found = await journal.runs(limit)
        if not found:
            click.echo(f"No runs in {journal.path or 'memory'} yet.")
            return 0
        table = new_table("run", "started", "status", "steps", "seconds", "cost", "model", "task")
        for item in found:
            cost = "" if item.author == "person" else price(item.cost, item.cost_known)
            when = datetime.fromtimestamp(item.started).strftime("%Y-%m-%d %H:%M")
            task = printable(one_line(item.task, 60))
            row = (
                item.id,
                when,
                item.status,
                str(item.steps),
                f"{item.seconds:.1f}",
                cost,
                item.model or "by hand",
                task,
            )
            table.add_row(*map(literal, row))
        stdout_console().print(table)
        return 0

    return asyncio.run(_with_journal(list_runs))


@cellwright.command()
@click.argument("run_id", metavar="RUN")
def show(run_id: str) -> int:
    """Print the steps of RUN: an id, its beginning, or `latest`."""

    async def show_run(journal: Journal) -> int:
        from .console import ConsoleView, stdout_console

        view = ConsoleView(stdout_console(), with_task=True)
        for event in (await _find(journal, run_id)).events:
            view.take(event)
        view.close()
        return 0

    return asyncio.run(_with_journal(show_run))


@cellwright.command()
@click.argument("run_id", metavar="RUN")
@click.argument("out", metavar="[OUT]", required=False)
@click.option("--report", is_flag=True, help="For readers: the answer on top, the code folded.")
@click.option("--html", is_flag=True, help="A page for a browser, which needs no network.")
@click.option(
    "--max-output", type=click.IntRange(min=0), help="Bytes; longer outputs are left out, but for their hash."
)
@click.option("--sign", "is_signed", is_flag=True, help="Sign the record with your key; it is made when there is none.")
def export(run_id: str, out: str | None, *, report: bool, html: bool, max_output: int | None, is_signed: bool) -> int:
    """Write the audit notebook of RUN (an id, its beginning, or `latest`) and of what came before it.

    The notebook holds the conversation up to that run; it runs again without Cellwright, a key or a network.
    """
    wanted = _writable(out)
    if html and is_signed:
        raise UsageError("A page holds no record that could be signed: leave out --sign or --html.")

    async def export_run(journal: Journal) -> int:
        last = await _find(journal, run_id)
        assert last.started is not None
        from .notebook.export import write, write_html
        from .signing import own_signature

        target = wanted or Path(f"cellwright-{last.id}.{'html' if html else 'ipynb'}")
        records = await journal.records(last.started.conversation)
        records = records[: [item.run.id for item in records].index(last.id) + 1]
        if html:
            write_html(records, target, report=report, max_output=max_output)
        else:
            signature = own_signature(records) if is_signed else None
            write(records, target, report=report, max_output=max_output, signature=signature)
        click.echo(str(target))
        return 0

    return asyncio.run(_with_journal(export_run))


async def _find(journal: Journal, run_id: str) -> Run:
    return await (journal.latest() if run_id == "latest" else journal.run(run_id))


async def _with_journal(work: Callable[[Journal], Coroutine[Any, Any, int]]) -> int:
    from .settings import gather

    async with _journal(gather()) as journal:
        return await work(journal)


def _journal(settings: Settings) -> Journal:
    from .journal import Journal, default_path

    return Journal(settings.journal or default_path())


def _write(done: Sequence[Run], target: Path) -> None:
    from .notebook.export import write

    write(done, target)


def _writable(name: str | None) -> Path | None:
    """The path to write to; asked before a task costs anything. Raises `ExportError`."""
    if name is None:
        return None
    path = Path(name).expanduser()
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.is_dir():
        raise ExportError(f"{name} is a folder. Name a file, e.g. {path / 'audit.ipynb'}.")
    return path


cellwright.add_command(model)
cellwright.add_command(doctor)
