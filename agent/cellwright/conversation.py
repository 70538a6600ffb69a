"""A conversation as a file: saved, loaded into another agent, edited.

A conversation is the events of its runs, so that is what is saved; loading folds them again into what the model is
told, as the loop does while they happen. An edit is a new list of runs, folded in the same way. The journal keeps only
what really happened: what was loaded or edited is held beside the agent, and goes on under a new id. Variables of the
sandbox are no part of a conversation; the model is told with the next task that they are gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from . import __version__
from .errors import UsageError, one_line
from .events import SCHEMA_VERSION, AnswerGiven, Event, RunStarted
from .identity import new_id
from .lineage import Part, remembered
from .memory import Memory
from .run import Run
from .secrets import redacted
from .wire import from_json, to_json

if TYPE_CHECKING:
    from .agent import CodeAgent

FORMAT = "cellwright-conversation"
"""What the file says it is."""

_before: WeakKeyDictionary[CodeAgent, tuple[str, Sequence[Run]]] = WeakKeyDictionary()
"""Agent -> id of its conversation, and the runs of it that were loaded or edited, so that no journal has them so."""


async def conversation(agent: CodeAgent, runs: Sequence[Run] = ()) -> list[Run]:
    """The runs of the agent's conversation, oldest first.

    runs: what was done since, for an agent without a journal. Raises `UsageError` where they are needed.
    """
    known_as, before = _before.get(agent, ("", ()))
    before = before if known_as == agent.conversation else ()
    journal = agent.open_journal()
    done = list(runs) or (await journal.conversation(agent.conversation) if journal else [])
    found = [*before, *done]
    if agent.memory and agent.memory.has_task and journal is None and not runs:
        told = _folded(found)
        if told is None or len(told.messages) != len(agent.memory.messages) - len(agent.memory._head):
            raise UsageError("This agent keeps no journal, so its runs are on no record: give them, runs=[...].")
    return found


async def save_conversation(agent: CodeAgent, path: str | Path, runs: Sequence[Run] = ()) -> Path:
    """Write the conversation to a JSON file that only its owner may read; the path.

    runs: as for `conversation`. Raises `UsageError` while a task is being done, and where the file can't be written.
    """
    agent.need_rest()
    found = await conversation(agent, runs)
    if not found:
        raise UsageError("There is no conversation to save yet.")
    return await asyncio.to_thread(_write, path, found)


async def load_conversation(agent: CodeAgent, path: str | Path) -> list[Run]:
    """Let the agent go on from a saved conversation instead of its own; the runs that it now remembers.

    Raises `UsageError` while a task is being done, and for a file that is none.
    """
    agent.need_rest()
    runs = await asyncio.to_thread(_read, path)
    _take(agent, runs)
    if runs:
        agent.instance = -1  # no process of a sandbox has this number: the next run says that variables are gone
    return runs


async def edit_conversation(
    agent: CodeAgent, function: Callable[[list[Run]], Iterable[Run]], runs: Sequence[Run] = ()
) -> list[Run]:
    """Put what `function` makes of the runs in their place; the agent's variables stay. What it remembers then.

    A run is made anew from its events: `Run(replace(event, text="...") if ... else event for event in run.events)`.
    runs: as for `conversation`. Raises `UsageError` while a task is being done, and where no runs come back.
    """
    agent.need_rest()
    edited = _checked(function(await conversation(agent, runs)))
    agent.need_rest()
    _take(agent, edited)
    return edited


async def forget_steps(agent: CodeAgent, keep: int, runs: Sequence[Run] = ()) -> list[Run]:
    """Let the model forget all steps but the newest `keep`; tasks and answers stay. What it remembers then.

    runs: as for `conversation`. Raises `UsageError`.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
        raise UsageError(f"keep must be a whole number of steps from 0, not {one_line(repr(keep), 60)}.")

    def newest(found: list[Run]) -> list[Run]:
        steps = [(run.id, step.number) for run in found for step in run.steps if run.started]
        kept = set(steps[len(steps) - keep :] if keep <= len(steps) else steps)
        return [Run(event for event in run.events if _stays(event, run.id, kept)) for run in found]

    return await edit_conversation(agent, newest, runs)


def _stays(event: Event, run_id: str, kept: set[tuple[str, int]]) -> bool:
    step = getattr(event, "step", None)
    return step is None or isinstance(event, AnswerGiven) or (run_id, step) in kept


def _take(agent: CodeAgent, runs: Sequence[Run]) -> None:
    """Let the agent remember these runs, and nothing else."""
    agent.memory = _folded(runs)
    agent.conversation = new_id()
    agent.is_fresh = False
    results = getattr(agent, "results", None)
    if isinstance(results, dict):
        results.clear()  # of function calls; they belong to the conversation before
    _before[agent] = (agent.conversation, tuple(runs))


def _folded(runs: Iterable[Run]) -> Memory | None:
    """What the model is told of the runs; None where that is nothing."""
    return remembered(map(Part, runs))[0]


def _checked(edited: Any) -> list[Run]:
    """The runs that a person's function gave. Raises `UsageError` for what are none."""
    try:
        runs = list(edited)
    except TypeError:
        raise UsageError(f"The edit must give runs, not {type(edited).__name__}.") from None
    for run in runs:
        if not isinstance(run, Run):
            raise UsageError(f"The edit must give runs, not {type(run).__name__}.")
        _check_run(run)
    return runs


def _check_run(run: Run) -> None:
    """Raise `UsageError` for a run that can't be folded: it begins with its one beginning, and numbers no step back."""
    begins = [number for number, event in enumerate(run.events) if isinstance(event, RunStarted)]
    if begins != [0]:
        raise UsageError("A run must begin with its RunStarted event, and hold one only.")
    if any(event.is_live for event in run.events):
        raise UsageError("A run holds what was done; events that are live only have no place in it.")
    numbers = [step.number for step in run.steps]
    if numbers != sorted(set(numbers)):
        raise UsageError(f"The steps of run {run.id} are out of order.")


# ---- the file -------------------------------------------------------------------------------------------------------


def _write(path: str | Path, runs: Sequence[Run]) -> Path:
    target = Path(path).expanduser()
    body = {
        "format": FORMAT,
        "version": SCHEMA_VERSION,
        "cellwright": __version__,
        "runs": [[json.loads(to_json(redacted(event))) for event in run.events] for run in runs],
    }
    try:
        # Written beside it and renamed: who is interrupted keeps the old file. `mkstemp` lets only the owner read.
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".cellwright-")
    except OSError as error:
        raise UsageError(f"Can't write {target}: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(body, file, ensure_ascii=False, indent=1)
        Path(name).replace(target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise UsageError(f"Can't write {target}: {error.strerror}.") from None
    return target


def _read(path: str | Path) -> list[Run]:
    try:
        body = json.loads(Path(path).expanduser().read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"Can't read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is no saved conversation: it is no JSON.") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT or not isinstance(body.get("runs"), list):
        raise UsageError(f"{path} is no saved conversation.")
    if body.get("version") != SCHEMA_VERSION:
        raise UsageError(
            f"{path} has version {one_line(repr(body.get('version')), 40)}, this Cellwright reads {SCHEMA_VERSION}."
        )
    try:
        # Through text, so that an event is read as strictly as in the journal. A run's own id is left as it was.
        runs = [Run(from_json(json.dumps(event)) for event in _listed(run)) for run in body["runs"]]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {one_line(str(error), 160)}") from None
    try:
        checked = _checked(runs)
    except UsageError as error:
        raise UsageError(f"{path} is damaged: {error}") from None
    return _fresh_first(checked)


def _listed(run: Any) -> list[Any]:
    if not isinstance(run, list):
        raise ValueError("a run is a list of events")
    return run


def _fresh_first(runs: list[Run]) -> list[Run]:
    """The runs from the newest chat on: what came before was forgotten by the model already."""
    starts = [at for at, run in enumerate(runs) if run.started and run.started.is_fresh]
    return runs[starts[-1] :] if starts else runs
