"""The command line: `cellwright run "task"`, and what belongs around it.

Every mistake is one line on stderr: exit status 2 for a wrong word, 1 for what went wrong, 130 after Ctrl-C. Commands
of other packages come in by the entry point group `cellwright.commands`; that is how `cellwright install` gets here
without the agent knowing the kernel.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn

import click

from . import __version__
from .cli_audit import export, resume, verify
from .cli_machine import doctor, model
from .cli_runs import runs, show
from .cli_task import Begun, Given, Shown, do, given_options, writable
from .errors import CellwrightError, UsageError
from .options import existing_file, one_line_of, settings_options
from .outputs import Json

if TYPE_CHECKING:
    from rich.console import Console

    from .agent import CodeAgent
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
    from .console import printable  # what is wrong may be quoted from a file that somebody else wrote

    click.echo(f"Error: {printable(text)}", err=True)
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
    shown = Shown(as_json, writable(export_to))
    pictures = [existing_file(name) for name in images]
    given = Given([existing_file(name) for name in files], pictures, mcp_file, tools)

    async def begin(agent: CodeAgent, settings: Settings, console: Console) -> Begun:
        from .images import as_images

        shown_to_model = await as_images(given.images)
        named = _with_files(task, await agent.sandbox.bring(given.files))
        return Begun(agent.stream(named, limits=settings.limits, images=shown_to_model))

    return asyncio.run(do(begin, given, flags, shown))


run.params.extend([*given_options(), *settings_options()])


def _with_files(task: str, names: Sequence[str]) -> str:
    """The task, with a line for each file that it does not name itself."""
    if not task.strip():
        return task  # the agent says what is wrong with it
    for name in names:
        if name not in task:
            task = f"{task.rstrip()}\nFile: {name}"
    return task


for command in (run, runs, show, export, verify, resume, model, doctor):
    cellwright.add_command(command)
