"""`%agent runs ...` and `%agent show`: what is on record, found, compared, added up, pruned and repaired."""

from __future__ import annotations

import time

import click

from cellwright.choosing import Period, chosen, filter_options, span_options
from cellwright.difference import difference
from cellwright.errors import UsageError, nearest
from cellwright.outputs import Json
from cellwright.run import Run
from cellwright.run_tables import counted, facts_table, found_table, runs_table, spent_table, when

from .command_table import COMMANDS, Text, command
from .session import Session
from .tables import Code, Said, Stack, Table


@command(click.Argument(["word"], nargs=-1), *filter_options())
async def runs(session: Session, word: tuple[str, ...], **given: Json) -> object:
    """List the last runs in the journal: `%agent runs --status failed --since 7d`."""
    if word:
        known = [name.removeprefix("runs ") for name in COMMANDS if name.startswith("runs ")]
        raise UsageError(f"There is no `%agent runs {word[0]}`{nearest(word[0], known)} There are {', '.join(known)}.")
    wanted = chosen(given)
    found = await session.journal.runs(**wanted)
    return Table.of(runs_table(found), _none_is_like_that(wanted))


def _none_is_like_that(wanted: dict[str, Json]) -> str:
    return "No run is like that." if set(wanted) > {"limit"} else "The journal has no runs yet."


@command(click.Argument(["words"], nargs=-1, required=True), *filter_options(), name="runs search")
async def search(session: Session, words: tuple[str, ...], **given: Json) -> object:
    """Find runs by words in task, thoughts, code, answers or errors: `%agent runs search penguins mean`."""
    text = " ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words)
    found = await session.journal.search(text, **chosen(given))
    return Table.of(found_table(found), "No run holds all of these words.")


@command(*span_options(), name="runs stats")
async def stats(session: Session, **given: Json) -> object:
    """Add up runs, tokens and cost of each model and day: `%agent runs stats --since 30d`."""
    return Table.of(spent_table(await session.journal.stats(**given)), "No model answered in that time.")


@command(click.Argument(["one"], metavar="A"), click.Argument(["other"], metavar="B"), name="runs diff")
async def diff(session: Session, one: str, other: str) -> object:
    """Compare two runs of the same task, step by step: `%agent runs diff A B`."""
    found = difference(await _run(session, one), await _run(session, other))
    parts: list[Table | Code | Said] = [] if found.same_task else [Said("These are runs of different tasks.")]
    parts.append(Table.of(facts_table(found)))
    for step in found.steps:
        alike = ": the same thought, code and outcome" if step.is_alike else ""
        parts.append(Said(f"Step {step.number}{alike}", is_strong=True))
        if step.facts:
            parts.append(Table(("", *found.names), step.facts))
        if step.code:
            parts.append(Code(step.code))
    return Stack(parts)


@command(
    click.Option(["--older-than"], type=Period(), required=True, help="Of their last event, e.g. 90d, 12h, 8w, 1y."),
    click.Option(["--yes"], is_flag=True, help="Remove them; without it, it only says which."),
    name="runs prune",
)
async def prune(session: Session, older_than: float, yes: bool) -> object:
    """Remove old runs for ever: `%agent runs prune --older-than 90d` says which, `--yes` does it."""
    edge = time.time() - older_than
    ids = set(await session.journal.removable(older_than))
    if not ids:
        return Text(f"No run is older than {when(edge)}; nothing is removed.")
    if not yes:
        old = [run for run in await session.journal.runs(limit=1 << 31, before=edge) if run.id in ids]
        said = f"{counted(len(ids), 'run')} would be removed for ever; `--yes` does it. What newer runs rest on stays."
        return Stack([Table.of(runs_table(old)), Said(said)])
    done = await session.journal.prune(time.time() - edge)
    said = (
        f"Removed {counted(done.runs, 'run')}, {done.events:,} events; the file is {done.bytes / 1e6:,.1f} MB smaller."
    )
    return Text(f"{said} {done.note}".rstrip())


@command(click.Argument(["run"], default="latest"))
async def show(session: Session, run: str) -> None:
    """Bring a run back live, with its buttons, by its id or the latest: `%agent show 3f9a`."""
    from .tree import with_called

    found = await session.found(run)
    await session.show(with_called(found, await session.journal.called_by(found.id)))


@command(click.Argument(["switch"], type=click.Choice(["on", "off"]), required=False))
async def recall(session: Session, switch: str | None) -> object:
    """Say whether the agent may search earlier runs of this folder, or change it: `%agent recall on`."""
    if switch:
        session.change(recall=switch == "on")
    if session.settings.recall:
        return Text("The agent may search earlier runs of this folder, with the tool `recall`.")
    return Text("The agent knows nothing of earlier runs of this folder; `%agent recall on` lets it search them.")


async def _run(session: Session, run_id: str) -> Run:
    return await (session.journal.latest() if run_id == "latest" else session.journal.run(run_id))
