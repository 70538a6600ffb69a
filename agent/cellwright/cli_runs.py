"""`cellwright runs` and `cellwright show`: what is on record, found, compared, added up, pruned and repaired."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from .choosing import Period, chosen, filter_options, span_options
from .cli_task import find, journal_of, with_journal
from .errors import UsageError
from .outputs import Json

if TYPE_CHECKING:
    from .difference import Difference
    from .journal import Journal
    from .run_tables import Rows


@click.group(invoke_without_command=True)
@click.pass_context
def runs(ctx: click.Context, /, **given: Json) -> int:
    """List the runs that are on record, newest first, or do more with them."""
    if ctx.invoked_subcommand is not None:
        for name in given:
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise UsageError(f"Write the options behind the word: `cellwright runs {ctx.invoked_subcommand} ...`.")
        return 0

    async def listed(journal: Journal) -> int:
        from .run_tables import runs_table

        wanted = chosen(given)
        found = await journal.runs(**wanted)
        if not found and set(wanted) > {"limit"}:
            click.echo("No run is like that. `cellwright runs` lists all.")
        elif not found:
            click.echo(f"No runs in {journal.path or 'memory'} yet.")
        else:
            print_table(runs_table(found))
        return 0

    return with_journal(listed)


runs.params.extend(filter_options())


@runs.command()
@click.argument("words", nargs=-1, required=True)
def search(words: tuple[str, ...], **given: Json) -> int:
    """Find the runs that hold all WORDS in task, thoughts, code, answers or errors; the best first.

    Words of three letters or more also find longer ones that begin so; words in double quotes stand side by side.
    """

    async def searched(journal: Journal) -> int:
        from .run_tables import found_table

        # Words that the shell gave as one were quoted by the person.
        text = " ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words)
        found = await journal.search(text, **chosen(given))
        return _show(found_table(found) if found else None, "No run holds all of these words.")

    return with_journal(searched)


search.params.extend(filter_options())


@runs.command()
def stats(**given: Json) -> int:
    """Add up runs, tokens and cost of each model and day."""

    async def counted(journal: Journal) -> int:
        from .run_tables import spent_table

        spent = await journal.stats(**given)
        return _show(spent_table(spent) if spent else None, "No model answered in that time.")

    return with_journal(counted)


stats.params.extend(span_options())


@runs.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
def diff(one: str, other: str) -> int:
    """Compare runs A and B of the same task, step by step: thought, code, outcome, tokens, cost, answer."""

    async def compared(journal: Journal) -> int:
        from .difference import difference

        _print_difference(difference(await find(journal, one), await find(journal, other)))
        return 0

    return with_journal(compared)


@runs.command()
@click.option("--older-than", type=Period(), required=True, help="Of their last event, e.g. 90d, 12h, 8w, 1y.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(*, older_than: float, yes: bool) -> int:
    """Remove old runs for ever; it says which, and asks first.

    Whole runs are removed. What a newer run rests on stays: earlier runs of its conversation, what it branched from.
    """
    edge = time.time() - older_than

    async def pruned(journal: Journal) -> int:
        from .run_tables import counted, when

        ids = set(await journal.removable(time.time() - edge))
        if not ids:
            click.echo(f"No run is older than {when(edge)}; nothing is removed.")
            return 0
        # Only to say from when they are: a damaged one is not listed, and removed all the same.
        old = [run.started for run in await journal.runs(limit=1 << 31, before=edge) if run.id in ids]
        span = f", started between {when(min(old))} and {when(max(old))}" if old else ""
        click.echo(f"{counted(len(ids), 'run')} of before {when(edge)}{span}.")
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("Nobody is there to ask: --yes removes them without being asked.")
            if not click.confirm("Remove them for ever?"):
                click.echo("Nothing was removed.")
                return 0
        done = await journal.prune(time.time() - edge)
        size = f"{done.bytes / 1e6:,.1f} MB"
        click.echo(f"Removed {counted(done.runs, 'run')}, {done.events:,} events; the file is {size} smaller.")
        if done.note:
            click.echo(done.note)
        return 0

    return with_journal(pruned)


@runs.command()
def repair() -> int:
    """Save what can be read of a damaged journal into a new one; the damaged file is kept."""
    from .journal import repair as save
    from .run_tables import counted
    from .settings import gather

    path = journal_of(gather()).path
    if path is None:
        raise UsageError("CELLWRIGHT_JOURNAL is off, so there is no file to repair.")
    saved = asyncio.run(save(path))
    whole = f"{counted(saved.runs, 'run')}, {saved.events:,} events"
    if saved.kept is None:
        click.echo(f"{path} is whole: {whole}.")
        return 0
    click.echo(f"Saved {whole}, in {path}.")
    if saved.lost_runs or saved.lost_events:
        click.echo(f"Lost {counted(saved.lost_runs, 'run')}, {saved.lost_events:,} events, as far as can be known.")
    click.echo(f"The damaged file is kept as {saved.kept}.")
    return 0


@click.command()
@click.argument("run_id", metavar="RUN")
def show(run_id: str) -> int:
    """Print the steps of RUN: an id, its beginning, or `latest`."""

    async def show_run(journal: Journal) -> int:
        from .console import ConsoleView, stdout_console

        view = ConsoleView(stdout_console(), with_task=True)
        for event in (await find(journal, run_id)).events:
            view.take(event)
        view.close()
        return 0

    return with_journal(show_run)


# ---- printing --------------------------------------------------------------------------------------------------------


def _show(table: Rows | None, empty: str) -> int:
    """Print the table, or what is said where there is none; the exit status."""
    if table:
        print_table(table)
    else:
        click.echo(empty)
    return 0


def print_table(table: Rows) -> None:
    """Print a table on stdout."""
    from .console import literal, new_table, printable, stdout_console

    shown = new_table(*table.headings)
    for row in table.rows:
        shown.add_row(*(literal(printable(cell)) for cell in row))
    stdout_console().print(shown)


def _print_difference(found: Difference) -> None:
    from rich.syntax import Syntax

    from .console import printable, stdout_console
    from .run_tables import Rows, facts_table

    console = stdout_console()
    if not found.same_task:
        console.print("These are runs of different tasks.", style="yellow")
    print_table(facts_table(found))
    for step in found.steps:
        alike = "  the same thought, code and outcome" if step.is_alike else ""
        console.print(f"\n[bold cyan]Step {step.number}[/]{alike}")
        if step.facts:
            print_table(Rows(("", *found.names), step.facts))
        if step.code:
            code = Syntax("", "diff", theme="ansi_dark").highlight(printable(step.code))
            console.print(code, end="", soft_wrap=True)
