"""`%agent undo`, `branch`, `edit`, `resume`: going back in a conversation, and on in another way."""

from __future__ import annotations

import click

from cellwright.errors import CellwrightError, UsageError, one_line
from cellwright.events import RunResumed
from cellwright.lineage import holding

from .answer import Answer
from .command_table import NextCell, Text, command
from .session import Session


@command(click.Argument(["steps"], type=click.IntRange(min=1), default=1))
async def undo(session: Session, steps: int) -> object:
    """Take back the last steps: variables, files and what the agent knows are as before: `%agent undo 2`."""
    done = await session.undo(steps)
    notes = [event.note for event in done.events if isinstance(event, RunResumed)]
    left = sum(len(part.steps) for part in holding(await session.conversation()))
    return Text("\n".join([f"Taken back. The conversation holds {_steps(left)} now.", *notes]))


@command(
    click.Argument(["step"], type=click.IntRange(min=1)),
    click.Argument(["instruction"], nargs=-1),
    click.Option(["--run"], default="", help="A run's id; the last one by default."),
)
async def branch(session: Session, step: int, instruction: tuple[str, ...], run: str) -> object:
    """Go back to before a step, and on in another way: `%agent branch 2 "use the median"`."""
    return await Answer.of(await session.branch(step, " ".join(instruction), run_id=run), session)


@command(click.Argument(["step"], type=click.IntRange(min=1)))
async def edit(session: Session, step: int) -> object:
    """Write a step anew: its code is put into a new cell; run that, and the agent goes on from there."""
    for part in reversed(holding(await session.conversation())):
        for known in part.steps:
            if known.number == step and known.code and part.run.started and part.run.started.author == "agent":
                return NextCell(f"%%agent --step {step}\n{known.code}")
    raise UsageError(f"There is no step {step} with code in the last run; `%agent steps` shows it.")


@command(click.Argument(["run"], default="latest"))
async def resume(session: Session, run: str) -> object:
    """Go on with a run that was cut off, or take up what one left: `%agent resume`, with its id or for the latest."""
    known = await session.found(run)
    if known.status != "success":
        return await Answer.of(await session.resume(known), session)
    done = await session.take_up(known)
    notes = [event.note for event in done.events if isinstance(event, RunResumed)]
    said = f"Run {known.id} has its answer. What it left is back; give the next task."
    return Text("\n".join([said, *notes]))


async def cut_off(session: Session) -> str:
    """A line on the last task of this folder, where that was cut off and this is the first one since; once a session.

    Empty otherwise, and where the journal can't be read: the task that is given now says so.
    """
    if session.is_offered or session.last_run is not None:
        return ""
    session.is_offered = True
    try:
        listed = await session.journal.runs(20, author="agent", origin=session.agent.origin)
    except CellwrightError:
        return ""
    last = next((run for run in listed if run.caller is None), None)
    if last is None or last.status not in ("unfinished", "interrupted"):
        return ""
    how = "cut off" if last.status == "unfinished" else "stopped"
    return f"The last task here was {how} ({one_line(last.task, 60)}). `%agent resume {last.id}` goes on with it."


def _steps(number: int) -> str:
    return f"{number} step{'' if number == 1 else 's'}"
