"""`%agent WORD ...`: the commands of a conversation, for the magic and the kernel.

Each is a click command, so that options, help and usage errors are those of the command line. A command returns what
is to be shown: text, a table, or a view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from cellwright.errors import UsageError, nearest
from cellwright.mcp import read_file, settings_from_words
from cellwright.models.reach import reachable
from cellwright.options import (
    arguments,
    existing_file,
    file_names,
    model_names,
    one_of,
    sandbox_options,
    settings_options,
    split,
)
from cellwright.outputs import Json
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.sandbox.workspace import files_of
from cellwright.settings import ISOLATION, LIMITS, Settings

from . import approving, audits, rewinding, runs  # noqa: F401 - they enter their commands into the table
from .command_table import COMMANDS, Text, command
from .session import Session
from .tables import Table


async def execute(session: Session, line: str) -> object:
    """Do what stands behind `%agent`; what is to be shown, None for nothing. Raises `UsageError` in one line."""
    words = split(line) or ["help"]
    name = words[0].lstrip("-")
    if " ".join(words[:2]) in COMMANDS:  # e.g. `runs search`
        name, words = " ".join(words[:2]), words[1:]
    if name not in COMMANDS:
        raise UsageError(f"There is no `%agent {words[0]}`{nearest(name, COMMANDS)} `%agent help` lists the commands.")
    known, function = COMMANDS[name]
    if {"--help", "-h"} & set(words[1:]):
        return Text(known.get_help(click.Context(known, info_name=f"%agent {name}")))
    return await function(session, **arguments(known, words[1:]))


def names() -> list[str]:
    """The words that may stand behind `%agent`."""
    return sorted({name.partition(" ")[0] for name in COMMANDS})


@command(click.Argument(["name"], required=False, shell_complete=model_names))
async def model(session: Session, name: str | None) -> object:
    """Show which model answers and why, or choose another: `%agent model embedded`."""
    if name:
        chosen = await session.model(name)
        session.change(model=name)
        session.agent.model = chosen
        return Text(f"From now on {chosen.name} answers.")
    chosen = await session.model()
    why = f" ({session.model_reason})" if session.model_reason else ""
    rows = [(one.name, one.why) for one in await reachable()]
    print(f"{chosen.name} answers{why}. `%agent model NAME` chooses another, e.g. one of these:")
    return Table(("model", "why"), rows, "Nothing else can be reached from here.")


@command()
async def tools(session: Session) -> object:
    """List the tools that the agent's code may call."""
    known = session.tools_with(session.settings)
    rows = [(facts.signature, facts.description.split("\n")[0]) for facts in (tool.facts for tool in known.values())]
    return Table(("tool", "what it does"), rows, "There are no tools yet; %%tool defines one.")


@command(
    click.Argument(["action"], default="list", type=click.Choice(["list", "add", "remove"])),
    click.Argument(["words"], nargs=-1),
    click.Option(["--env", "-e"], multiple=True, help="A variable that the server gets, KEY=VALUE."),
    click.Option(["--header"], multiple=True, help="A header that is sent, 'Name: value'."),
)
async def mcp(
    session: Session, action: str, words: tuple[str, ...], env: tuple[str, ...], header: tuple[str, ...]
) -> object:
    """List, add or remove MCP servers: `%agent mcp add time -- uvx mcp-server-time`, `%agent mcp add NAME URL`."""
    if action == "add":
        if len(words) == 1 and words[0].endswith(".json"):
            await session.mcp.add_all(read_file(words[0]))
        elif words:
            await session.mcp.add(settings_from_words(words[0], words[1:], env=env, headers=header))
        else:
            raise UsageError("Which one? `%agent mcp add NAME -- command args`, `NAME URL`, or a file `mcp.json`.")
    elif action == "remove":
        for name in words or [""]:
            await session.mcp.remove(name)
    return Table(("server", "where", "state", "tools"), session.mcp.rows(), "No MCP server is connected.")


@command(*(option for option in settings_options() if option.name in LIMITS))
async def limits(session: Session, **given: Json) -> object:
    """Show or change what a run may spend: `%agent limits --max-steps 40 --budget none`."""
    session.change(**{name: value for name, value in given.items() if value is not None})
    return Text(_limits_text(session.settings))


@command(*sandbox_options())
async def sandbox(session: Session, **given: Json) -> object:
    """Show or change how the sandbox is isolated: `%agent sandbox --network host --memory 4GiB`."""
    changes = {name: value for name, value in given.items() if value not in (None, ())}
    session.change(**changes)
    running = session.agent.sandbox.is_running
    text = _isolation_text(session.settings.isolation)
    if changes and running:
        text += "\nThis holds from the next sandbox on: `%agent reset` starts it, without the variables."
    elif running:
        facts = await session.agent.sandbox.start()
        text += (
            f"\n{'running':15} {facts.isolation}, Python {facts.python}, in {facts.workspace}\n{facts.note}".rstrip()
        )
    return Text(text)


@command(click.Argument(["add"], nargs=-1, shell_complete=file_names))
async def files(session: Session, add: tuple[str, ...]) -> object:
    """List the files of the workspace, or copy some into it: `%agent files data.csv`."""
    sandbox = session.agent.sandbox
    if add:
        names = await sandbox.bring([existing_file(name) for name in add])
        return Text(f"Code can read {', '.join(names)}.")
    if not isinstance(sandbox, ChildKernel) or not sandbox.is_running:
        return Text("The sandbox has not started yet. Files that a task names are copied into its workspace.")
    found = await asyncio.to_thread(files_of, sandbox.workspace)
    rows = [(file.name, f"{file.size:,}") for file in found]
    print(f"Workspace: {sandbox.workspace}")
    return Table(("file", "bytes"), rows, "The workspace has no files yet.")


@command()
async def _vars(session: Session) -> object:
    """List the variables of the sandbox."""
    if not session.agent.sandbox.is_running:
        return Text("The sandbox has not started yet, so it has no variables.")
    found = await session.agent.sandbox.at_hand()
    rows = [(v.name, v.type_name, v.summary) for v in found.variables]
    return Table(("name", "type", "value"), rows, "The sandbox has no variables yet.")


@command()
async def steps(session: Session) -> object:
    """Show the steps of the last run again."""
    if session.last_run is None:
        return Text("There was no run yet.")
    from .widget import Static

    return Static(session.last_run)


@command()
async def new(session: Session) -> object:
    """Begin a new chat; the sandbox's variables stay."""
    session.agent.forget()
    return Text("A new chat. The sandbox's variables stay; `%agent reset` clears them too.")


@command()
async def reset(session: Session) -> object:
    """Begin a new conversation in a new sandbox."""
    await session.reset()
    return Text("A new conversation, and a new sandbox without variables.")


def _words_like(context: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    return one_of(names())(context, param, typed)  # asked late: other modules still enter theirs


@command(click.Argument(["name"], nargs=-1, shell_complete=_words_like))
async def _help(session: Session, name: tuple[str, ...]) -> object:
    """Say what the commands do."""
    if name:
        return await execute(session, f"{' '.join(name)} --help")
    rows = [(f"%agent {word}", _summary(known)) for word, (known, _) in sorted(COMMANDS.items())]
    return Table(("command", "what it does"), rows)


def _limits_text(settings: Settings) -> str:
    """The limits, one a line."""
    limits = settings.limits
    shown = {
        "max-steps": limits.steps,
        "max-seconds": limits.seconds,
        "max-tokens": limits.tokens,
        "budget": limits.cost,
        "action-seconds": limits.action_seconds,
    }
    units = {"max-seconds": " s", "budget": " USD", "action-seconds": " s"}
    return "\n".join(
        f"{name:15} " + ("no limit" if value is None else f"{value:g}{units.get(name, '')}")
        for name, value in shown.items()
    )


def _isolation_text(isolation: Isolation) -> str:
    """How the sandbox is to be fenced in, one line each."""
    lines = []
    for name, part in ISOLATION.items():
        value = getattr(isolation, part)
        if part == "read":
            value = ", ".join(map(str, value)) or "nothing besides the workspace"
        elif value is None:
            value = "no limit"
        elif part in ("memory", "file_size", "workspace_size", "tmp_size", "shm_size"):
            value = f"{value / (1 << 20):,.0f} MiB"
        lines.append(f"{name.replace('_', '-'):15} {value}")
    return "\n".join(lines)


def _summary(known: click.Command) -> str:
    return (known.help or "").split("\n")[0]


def as_bundle(shown: object) -> tuple[Mapping[str, Any], str]:
    """What a command returned as a mime bundle, and its plain text; empty for what has shown itself already."""
    if shown is None:
        return {}, ""
    text = repr(shown)
    data = {"text/plain": text}
    if hasattr(shown, "_repr_mimebundle_"):
        data = dict(shown._repr_mimebundle_()[0])
    elif hasattr(shown, "_repr_html_"):
        data["text/html"] = shown._repr_html_()
    return data, text
