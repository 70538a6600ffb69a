"""`cellwright compare TASKS.jsonl`: agents and models on a file of tasks with known answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import UsageError
from .options import existing_file, settings_options
from .outputs import Json

if TYPE_CHECKING:
    from rich.console import Console

    from .compare import Comparison
    from .models.base import Model


@click.command("compare")
@click.argument("tasks", metavar="TASKS.jsonl")
@click.option("--agents", default="code,tools", show_default=True, help="Kinds of agent: code, tools.")
@click.option("--models", help="Names, e.g. embedded,anthropic/claude-sonnet-4-5; without it, the one that is found.")
@click.option("--tools", default="", help="Functions for tasks that name none, e.g. calculate,days_between.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="How often each task is done.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many tasks, the first ones.")
@click.option("--out", help="The folder for results; without it, TASKS-comparison in the current folder.")
def command(
    tasks: str,
    *,
    agents: str,
    models: str | None,
    tools: str,
    repeat: int,
    limit: int | None,
    out: str | None,
    **flags: Json,
) -> int:
    """Compare kinds of agent, and models, on a file of tasks with known answers.

    Prints success, steps, tokens, seconds and cost of each run, and totals with 95% confidence intervals; writes them
    as CSV and as a plot. Every run is in the journal. Started again, it goes on where it stopped.
    """
    path = existing_file(tasks)
    folder = Path(out or f"{path.stem}-comparison").expanduser()
    return asyncio.run(_compare(_Asked(path, _names(agents), models, _names(tools), repeat, limit, folder), flags))


# --model names one, --models several; and what earlier runs found out would make a comparison unfair.
command.params.extend(option for option in settings_options() if option.name not in ("model", "recall"))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was said on the command line, besides settings."""

    tasks: Path
    agents: tuple[str, ...]
    models: str | None
    tools: tuple[str, ...]
    repeat: int
    limit: int | None
    out: Path


async def _compare(asked: _Asked, flags: Mapping[str, Json]) -> int:
    from .compare import Comparison, read_cases
    from .console import stdout_console
    from .journal import Journal, default_path
    from .models.rates import as_set
    from .sandbox.child import ChildKernel
    from .settings import gather

    settings = gather(dict(flags))
    cases = read_cases(asked.tasks)
    async with AsyncExitStack() as stack:
        models = await _models(_names(asked.models) if asked.models else (settings.model,), stack)
        for model in models.values():
            as_set(model, settings)
        comparison = Comparison(
            cases,
            asked.agents,
            models,
            asked.out,
            repeat=asked.repeat,
            limit=asked.limit,
            limits=settings.limits,
            tools=asked.tools,
            journal=await stack.enter_async_context(Journal(settings.journal or default_path())),
            sandbox=lambda: ChildKernel(
                settings.kernel_name, output_bytes=settings.limits.output_bytes, isolation=settings.isolation
            ),
            instructions=settings.instructions,
        )
        await _do(comparison, stdout_console())
    return 0


async def _do(comparison: Comparison, console: Console) -> None:
    """Do what is left to do, say what came of each run, then all of it together."""
    from .compare.harness import ready
    from .compare.report import one_result, show, write_csv, write_plot

    count, size = len(comparison.results()), comparison.size
    if count:
        console.print(f"{count} of {size} runs are done already.", markup=False)
    if count < size:
        for model in comparison.models.values():
            await ready(model)
    async with aclosing(comparison.run()) as results:
        async for result in results:
            count += 1
            console.print(f"[{count}/{size}] {one_result(result)}", markup=False, soft_wrap=True)
    found = comparison.results()
    console.print()
    show(found, comparison.agents, console)
    plot = comparison.out / "plot.png"
    written = write_csv(found, comparison.out)
    if why := write_plot(found, plot):
        console.print(why, markup=False)
    else:
        written.append(plot)
    console.print(f"Written: {', '.join(map(str, written))}", markup=False, soft_wrap=True)


async def _models(names: tuple[str | None, ...], stack: AsyncExitStack) -> dict[str, Model]:
    """The models by name; closed with the stack. Raises `ModelError`, `UsageError`."""
    from .models.choice import choose

    found: dict[str, Model] = {}
    for name in names:
        model = (await choose(name)).model
        stack.push_async_callback(model.aclose)
        if model.name in found:
            raise UsageError(f"--models names {model.name} twice.")
        found[model.name] = model
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
