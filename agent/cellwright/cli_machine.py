"""Commands about the machine rather than a task: `cellwright model ...` and `cellwright doctor`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .doctor import Check
    from .settings import Settings

# ---- models ----------------------------------------------------------------------------------------------------------


@click.group()
def model() -> None:
    """The embedded model, and what else can answer."""


@model.command()
def pull() -> int:
    """Fetch the embedded model (1.1 GB, once). What has arrived is kept when it breaks off."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from .console import stdout_console
    from .models import weights

    if path := weights.find():
        click.echo(f"The embedded model is here: {path}")
        return 0
    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stdout_console()) as progress:
        bar = progress.add_task(weights.PINNED.file, total=weights.PINNED.size)
        path = asyncio.run(weights.pull(lambda have, size: progress.update(bar, completed=have, total=size)))
    click.echo(f"The embedded model is here: {path}")
    return 0


@model.command()
def remove() -> int:
    """Delete the embedded model's file."""
    from .models import weights

    click.echo("Removed." if weights.remove() else f"There is no embedded model in {weights.folder()}.")
    return 0


@model.command("list")
def list_models() -> int:
    """List the models that can answer now, and which one would."""
    return asyncio.run(_list_models())


async def _list_models() -> int:
    from .console import literal, new_table, stdout_console
    from .errors import ModelError
    from .models import choice, embedded, weights
    from .settings import gather

    settings = gather()
    table = new_table("model", "why it can answer")
    for variable in choice.keys_present():
        for name in choice.DEFAULTS[variable]:
            table.add_row(literal(name), f"{variable} is set")
    host = choice.ollama_host()
    for name in await choice.ollama_models(host):
        table.add_row(literal(f"ollama_chat/{name}"), literal(f"Ollama at {host}"))
    if not (why := embedded.problem()):
        table.add_row(embedded.NAME, f"its file is here ({weights.PINNED.file})")
    if table.row_count:
        stdout_console().print(table)
    if why:
        click.echo(f"embedded: {why}")
    try:
        chosen = await choice.choose(settings.model)
    except ModelError as error:
        click.echo(f"Without --model: {error}")
        return 0
    click.echo(f"Without --model: {chosen.model.name} ({settings.sources.get('model', chosen.why)})")
    return 0


# ---- the machine -----------------------------------------------------------------------------------------------------


@click.command()
def doctor() -> int:
    """Look at what this machine can do, and say what to do where it can't. Exit status 1 when something is wrong."""
    return asyncio.run(_doctor())


async def _doctor() -> int:
    from .console import literal, new_table, stdout_console
    from .doctor import examine
    from .settings import gather

    settings = gather()
    checks: list[Check] = [*await examine(settings), await _sandbox_check(settings)]
    signs = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "-"}
    table = new_table("", "what", "found")
    for check in checks:
        fix = f"\n-> {check.fix}" if check.fix else ""
        table.add_row(signs[check.ok], check.name, literal(check.detail + fix))
    stdout_console().print(table)
    return int(any(check.ok is False for check in checks))


async def _sandbox_check(settings: Settings) -> Check:
    """Start the sandbox for real."""
    from .doctor import Check
    from .errors import SandboxError
    from .sandbox.child import ChildKernel

    began = time.monotonic()
    sandbox = ChildKernel(settings.kernel_name, isolation=settings.isolation)
    try:
        facts = await sandbox.start()
    except SandboxError as error:
        return Check("sandbox", False, "does not start", str(error))
    finally:
        await sandbox.close()
    took = time.monotonic() - began
    fence = "NOT ISOLATED" if facts.isolation == "process" else f"isolated by {facts.isolation}"
    said = f"{facts.kernel_name}, Python {facts.python}, {fence}, network {facts.network}"
    return Check("sandbox", True, f"{said}: started and ended in {took:.1f} s", facts.note)
