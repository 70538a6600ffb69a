"""The options of a task, one table for the command line, the magic and the kernel.

Each option is a click option; `parse` reads a line as a shell would. A mistake is one line that names the nearest word.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import click

from .errors import UsageError
from .outputs import Json


class Names(click.ParamType[tuple[str, ...]]):
    """Names of variables, separated by commas."""

    name = "names"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """`a,b` -> `("a", "b")`."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(","))
        for name in names:
            if not name.isidentifier():
                self.fail(f"{name!r} is not the name of a variable.", param, ctx)
        return names


def settings_options() -> list[click.Option]:
    """What holds for every face: the model, and what a run may spend. `settings.gather` checks the values."""
    return [
        click.Option(["--model", "-m"], help="A litellm name, e.g. anthropic/claude-sonnet-4-5, or embedded."),
        click.Option(["--max-steps"], help="Replies of the model; none lifts a limit."),
        click.Option(["--max-seconds"], help="Wall time of the whole run, in seconds."),
        click.Option(["--max-tokens"], help="Tokens sent and written, over all replies."),
        click.Option(["--budget"], help="US dollars."),
        click.Option(["--action-seconds"], help="Wall time of one action, in seconds."),
        click.Option(["--requests-per-minute"], help="Sent to a model by all agents together; none lifts it."),
        click.Option(["--instructions"], help="What the agent should keep in mind for every task."),
        click.Option(["--approve"], help="Before code runs: auto, ask-risky, or ask."),
        click.Option(
            ["--recall/--no-recall"], default=None, help="The agent may search earlier runs of this folder; off."
        ),
        click.Option(["--kernel-name"], help="The Jupyter kernelspec in which the code runs."),
        *sandbox_options(),
    ]


def sandbox_options() -> list[click.Option]:
    """How the sandbox is fenced in; holds from the next sandbox that starts."""
    return [
        click.Option(["--isolation"], help="auto, bwrap, landlock; process means: not isolated."),
        click.Option(["--network"], help="none, or host: the sandbox may use this machine's network."),
        click.Option(["--read"], multiple=True, help="A folder that code may read; may be given several times."),
        click.Option(["--memory"], help="Of all processes in the sandbox, e.g. 4GiB."),
        click.Option(["--processes"], help="Processes and threads in the sandbox at once."),
        click.Option(["--file-size"], help="Of one file that code writes, e.g. 500MB."),
        click.Option(["--workspace-size"], help="Of all files in the workspace, e.g. 2GiB."),
        click.Option(["--tmp-size"], help="Of the sandbox's own /tmp."),
        click.Option(["--shm-size"], help="Of its shared memory."),
    ]


def magic_options() -> list[click.Option]:
    """What `%%agent` takes besides."""
    return [
        click.Option(["--in", "put"], type=Names(), default=(), help="Variables to copy into the sandbox: a,b."),
        click.Option(["--out", "out"], help="Variable of the notebook that gets the answer."),
        click.Option(
            ["--image", "-i", "images"], multiple=True, help="An image for the model; may be given several times."
        ),
        click.Option(["--new"], is_flag=True, help="Begin a new chat; the sandbox's variables stay."),
        click.Option(
            ["--step"],
            type=click.IntRange(min=1),
            help="The cell is code: it takes the place of that step of the last run, and the agent goes on from there.",
        ),
    ]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Options of one task, as `%%agent` takes them."""

    settings: Mapping[str, Json] = field(default_factory=dict)
    """Option -> value, for `Settings`; only those that were given."""
    put: tuple[str, ...] = ()
    out: str | None = None
    images: tuple[str, ...] = ()
    """Paths."""
    new: bool = False
    step: int | None = None
    help: str = ""
    """The help text, when it was asked for instead."""


def parse_magic(line: str) -> TaskOptions:
    """The options on a `%%agent` line. Raises `UsageError` in one line."""
    command = click.Command("%%agent", params=[*settings_options(), *magic_options()], help=MAGIC_HELP)
    words = split(line)
    if {"--help", "-h"} & set(words):
        return TaskOptions(help=command.get_help(click.Context(command, info_name="%%agent")))
    given = arguments(command, words)
    own = {item.name for item in fields(TaskOptions)} - {"settings", "help"}
    if given.get("out") is not None and not given["out"].isidentifier():
        raise UsageError(f"--out: {given['out']!r} is not the name of a variable.")
    if given.get("step") and (given["images"] or given["put"] or given["new"]):
        raise UsageError("--step takes up a run that was begun; --image, --in and --new are for a new task.")
    return TaskOptions(
        settings={name: value for name, value in given.items() if name not in own and value not in (None, ())},
        **{name: given[name] for name in own},
    )


MAGIC_HELP = """Do the task in the cell below.

{name} in the task is replaced by the value of that variable. The agent's code runs in a sandbox that keeps its
variables from one cell to the next; --in copies variables there, --out brings the answer back."""


def split(line: str) -> list[str]:
    """The words of a line, quoted as in a shell. Raises `UsageError` for an open quote."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{str(error).rstrip('.')} in: {line}") from None


def arguments(command: click.Command, words: Sequence[str]) -> dict[str, Json]:
    """The parameters of a click command. Raises `UsageError` with click's message, nearest word included."""
    try:
        return dict(command.make_context(command.name, list(words), resilient_parsing=False).params)
    except click.ClickException as error:
        raise UsageError(one_line_of(error)) from None


def one_line_of(error: click.ClickException) -> str:
    """What click says of a mistake, without usage and hint lines."""
    return " ".join(error.format_message().split())


def existing_file(name: str) -> Path:
    """The path of a file that is there. Raises `UsageError`."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"There is no file {name}.")
    return path
