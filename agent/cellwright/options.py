"""The options of a task, one table for the command line, the magic and the kernel.

Each option is a click option; `parse` reads a line as a shell would. A mistake is one line that names the nearest word.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import get_args

import click
from click.shell_completion import CompletionItem

from .approval import MODES
from .errors import UsageError
from .outputs import Json
from .sandbox.isolation import Level, Network

CELLS = 100
"""So many cells of the notebook may go along with a task."""
VARIABLE = "variable"
"""Type of a `CompletionItem` that stands for the names of variables, as click's `file` stands for those of files."""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""What can be typed as a value, given its beginning."""


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

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of variables."""
        return [CompletionItem(incomplete, type=VARIABLE)]


def one_of(words: Iterable[str]) -> Complete:
    """Offer these; other values may be given, too."""
    known = tuple(words)
    return lambda _context, _param, typed: [CompletionItem(word) for word in known if word.startswith(typed)]


def model_names(_context: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer models; of several, separated by commas, the last is being typed."""
    from .models.reach import names_like

    before, comma, last = typed.rpartition(",")
    return [CompletionItem(f"{before}{comma}{name}") for name in names_like(last)]


def file_names(_context: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer files."""
    return [CompletionItem(typed, type="file")]


def variable_names(_context: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer variables."""
    return [CompletionItem(typed, type=VARIABLE)]


def kernel_names(_context: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer Jupyter's kernelspecs."""
    from jupyter_client.kernelspec import KernelSpecManager

    return [CompletionItem(name) for name in sorted(KernelSpecManager().find_kernel_specs()) if name.startswith(typed)]


def settings_options() -> list[click.Option]:
    """What holds for every face: the model, and what a run may spend. `settings.gather` checks the values."""
    return [
        click.Option(
            ["--model", "-m"],
            metavar="NAME",
            shell_complete=model_names,
            help="A litellm name, e.g. anthropic/claude-sonnet-4-5, or embedded.",
        ),
        click.Option(["--max-steps"], metavar="N", help="Replies of the model; none lifts a limit."),
        click.Option(["--max-seconds"], metavar="SECONDS", help="Wall time of the whole run, in seconds."),
        click.Option(["--max-tokens"], metavar="N", help="Tokens sent and written, over all replies."),
        click.Option(["--budget"], metavar="USD", help="US dollars."),
        click.Option(["--action-seconds"], metavar="SECONDS", help="Wall time of one action, in seconds."),
        click.Option(
            ["--requests-per-minute"], metavar="N", help="Sent to a model by all agents together; none lifts it."
        ),
        click.Option(["--instructions"], help="What the agent should keep in mind for every task."),
        click.Option(
            ["--approve"],
            metavar="MODE",
            shell_complete=one_of(MODES),
            help="Before code runs: auto, ask-risky, or ask.",
        ),
        click.Option(
            ["--recall/--no-recall"], default=None, help="The agent may search earlier runs of this folder; off."
        ),
        click.Option(
            ["--kernel-name"],
            metavar="NAME",
            shell_complete=kernel_names,
            help="The Jupyter kernelspec in which the code runs.",
        ),
        *sandbox_options(),
    ]


def sandbox_options() -> list[click.Option]:
    """How the sandbox is fenced in; holds from the next sandbox that starts."""
    return [
        click.Option(
            ["--isolation"],
            metavar="LEVEL",
            shell_complete=one_of(get_args(Level)),
            help="auto, bwrap, landlock; process means: not isolated.",
        ),
        click.Option(
            ["--network"],
            metavar="WHICH",
            shell_complete=one_of(get_args(Network)),
            help="none, or host: the sandbox may use this machine's network.",
        ),
        click.Option(
            ["--read"],
            metavar="FOLDER",
            shell_complete=file_names,
            multiple=True,
            help="A folder that code may read; may be given several times.",
        ),
        click.Option(["--memory"], metavar="SIZE", help="Of all processes in the sandbox, e.g. 4GiB."),
        click.Option(["--processes"], metavar="N", help="Processes and threads in the sandbox at once."),
        click.Option(["--file-size"], metavar="SIZE", help="Of one file that code writes, e.g. 500MB."),
        click.Option(["--workspace-size"], metavar="SIZE", help="Of all files in the workspace, e.g. 2GiB."),
        click.Option(["--tmp-size"], metavar="SIZE", help="Of the sandbox's own /tmp."),
        click.Option(["--shm-size"], metavar="SIZE", help="Of its shared memory."),
    ]


def magic_options() -> list[click.Option]:
    """What `%%agent` takes besides."""
    return [
        click.Option(["--in", "put"], type=Names(), default=(), help="Variables to copy into the sandbox: a,b."),
        click.Option(
            ["--out", "out"],
            metavar="NAME",
            shell_complete=variable_names,
            help="Variable of the notebook that gets the answer.",
        ),
        click.Option(
            ["--image", "-i", "images"],
            multiple=True,
            metavar="FILE",
            shell_complete=file_names,
            help="An image for the model; may be given several times.",
        ),
        click.Option(
            ["--context"],
            type=click.IntRange(min=0, max=CELLS),
            default=0,
            metavar="N",
            help="The last N cells of the notebook, and what they showed, go along with the task; off.",
        ),
        click.Option(["--new"], is_flag=True, help="Begin a new chat; the sandbox's variables stay."),
        click.Option(
            ["--step"],
            type=click.IntRange(min=1),
            metavar="N",
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
    context: int = 0
    """How many cells of the notebook go along."""
    new: bool = False
    step: int | None = None
    help: str = ""
    """The help text, when it was asked for instead."""


def magic_command() -> click.Command:
    """`%%agent` with all its options, the most used ones first."""
    return click.Command("%%agent", params=[*magic_options(), *settings_options()], help=MAGIC_HELP)


def parse_magic(line: str) -> TaskOptions:
    """The options on a `%%agent` line. Raises `UsageError` in one line."""
    command = magic_command()
    words = split(line)
    if {"--help", "-h"} & set(words):
        return TaskOptions(help=command.get_help(click.Context(command, info_name="%%agent")))
    given = arguments(command, words)
    own = {item.name for item in fields(TaskOptions)} - {"settings", "help"}
    if given.get("out") is not None and not given["out"].isidentifier():
        raise UsageError(f"--out: {given['out']!r} is not the name of a variable.")
    if given.get("step") and (given["images"] or given["put"] or given["new"] or given["context"]):
        raise UsageError("--step takes up a run that was begun; --image, --in, --context and --new are for a new task.")
    return TaskOptions(
        settings={name: value for name, value in given.items() if name not in own and value not in (None, ())},
        **{name: given[name] for name in own},
    )


MAGIC_HELP = """Do the task in the cell below.

{name} in the task is replaced by the value of that variable. The agent's code runs in a sandbox that keeps its
variables from one cell to the next; --in copies variables there, --out brings the answer back; _ holds it, too.

\b
%%agent --in df --out result
Which columns of df have outliers? Answer with a table."""


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
