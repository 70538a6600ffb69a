"""Going back, and going on: undo, branch, edit a step, resume a run whose process was killed.

Each begins a fresh sandbox and rebuilds in it what still holds (`rebuild.py`), lets the conversation end there, and
puts on record what was done. Runs are never changed: one that branches names its parent, one that is resumed shows
the seam.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .errors import SandboxUnavailable, UsageError, one_line
from .events import ActionDecided, ActionProposed, Event, RunResumed, Told
from .lineage import Part, holding
from .loop import Work
from .put_back import conversation_of, journal_of, last_number, put_back
from .resuming import go_on
from .run import Run, Step

if TYPE_CHECKING:
    from .agent import CodeAgent
    from .journal import Journal


async def undo(agent: CodeAgent, steps: int = 1) -> Run:
    """Take back the last steps of the conversation: variables, files and memory are as before them.

    The run that says so on record; its `RunResumed.note` names what can't be taken back. The task whose steps were
    taken back is not gone on with: give the next one, or `branch`. Raises `UsageError`, `SandboxUnavailable`.
    """
    agent.need_rest()
    parts = holding(await conversation_of(agent))
    at, last = _before_last(parts, steps)
    undone = f"undo {steps}"
    return await _gone_back(agent, parts, at, last, said=undone)


async def undo_to(agent: CodeAgent, run_id: str, step: int) -> Run:
    """Take back what came after step `step` of a run of the conversation; 0 for before its first. See `undo`."""
    agent.need_rest()
    parts = holding(await conversation_of(agent))
    at = next((at for at, part in enumerate(parts) if part.run.id == run_id), None)
    if at is None or step not in (0, *(known.number for known in parts[at].steps)):
        raise UsageError(f"The conversation does not hold step {step} of run {run_id} any more.")
    return await _gone_back(agent, parts, at, step, said=f"undo to step {step}")


async def branch(
    agent: CodeAgent, step: int, instruction: str = "", *, code: str | None = None, run_id: str = "", **options: Any
) -> AsyncGenerator[Event]:
    """Go back to before a step of a run, and on from there in another way; yields what happens.

    step: from 1. instruction: what the model is told. code: a person's own code for that step instead of the model's.
    run_id: the last run by default. options: `limits`. Raises `UsageError`, `SandboxUnavailable`.
    """
    agent.need_rest()
    runs = await conversation_of(agent)
    run = _chosen(runs, run_id)
    if not any(known.number == step for known in run.steps):
        numbers = ", ".join(str(known.number) for known in run.steps) or "none"
        raise UsageError(f"There is no step {step} in run {run.id}; it has {numbers}.")
    parts = holding(runs[: [known.id for known in runs].index(run.id) + 1])
    options |= {"instruction": instruction, "code": code, "dropped": _dropped(runs, parts)}
    async with aclosing(_from(agent, parts, len(parts) - 1, step - 1, task=run.task, **options)) as events:
        async for event in events:
            yield event


async def resume(agent: CodeAgent, run_id: str = "latest", **options: Any) -> AsyncGenerator[Event]:
    """Go on with a run whose process was killed, from where its record ends; yields what happens.

    Without a model call the sandbox is rebuilt. An action that was under way is reported, not repeated. A run that
    ended without an answer (out of steps, stopped, ...) goes on as a branch of it. options: `limits`, for all of it.
    Raises `UsageError` for a run that has its answer, `JournalError` for one that another process is doing,
    `SandboxUnavailable`.
    """
    agent.need_rest()
    journal = journal_of(agent)
    run = await (last_task(journal, agent.origin) if run_id == "latest" else journal.run(run_id))
    started = run.started
    if started is None or started.author == "person" or started.caller:
        raise UsageError(f"Run {run.id} is not a task that was given to this agent, so it can't be gone on with.")
    if run.status == "success":
        raise UsageError(f"Run {run.id} has its answer. Give the next task instead.")
    if missing := [tool.name for tool in started.tools if tool.name not in agent.tools]:
        raise UsageError(f"Run {run.id} had tools that are not there now: {', '.join(missing)}. Give them again.")
    if run.ended:
        agent.conversation = started.conversation
        runs = await conversation_of(agent)
        parts = holding(runs[: [known.id for known in runs].index(run.id) + 1])
        options["dropped"] = _dropped(runs, parts)
        events = _from(agent, parts, len(parts) - 1, last_number(run), task=run.task, **options)
    else:
        events = go_on(agent, run, **options)
    async with aclosing(events) as happening:
        async for event in happening:
            yield event


async def last_task(journal: Journal, origin: str = "") -> Run:
    """The task that was given last: neither a cell that a person ran, nor what an agent was called with.

    origin: tasks of that folder go first. One that another process is doing is passed over. Raises `JournalError`.
    """
    for place in (origin, "") if origin else ("",):
        for listed in await journal.runs(200, author="agent", origin=place):
            if listed.caller is None and listed.status != "running":
                return await journal.run(listed.id)
    return await journal.latest()


async def take_up(agent: CodeAgent, run_id: str) -> Run:
    """Bring back variables, files and memory as a run with an answer left them, e.g. after the kernel was restarted.

    The run that says so on record, as for `undo`. Raises `UsageError`, `JournalError`, `SandboxUnavailable`.
    """
    agent.need_rest()
    run = await journal_of(agent).run(run_id)
    assert run.started is not None
    if agent.conversation == run.started.conversation and agent.sandbox.is_running:
        raise UsageError(f"Run {run.id} has its answer, and its variables are there. Give the next task.")
    agent.conversation = run.started.conversation
    runs = await conversation_of(agent)
    parts = holding(runs[: [known.id for known in runs].index(run.id) + 1])
    last = last_number(run)
    return await _gone_back(agent, parts, len(parts) - 1, last, said="resume", dropped=_dropped(runs, parts))


# ---- from a step on -------------------------------------------------------------------------------------------------


async def _from(
    agent: CodeAgent,
    parts: Sequence[Part],
    at: int,
    last: int,
    *,
    task: str,
    instruction: str = "",
    code: str | None = None,
    author: Any = "agent",
    is_over: bool = False,
    limits: Any = None,
    dropped: Sequence[Part] = (),
) -> AsyncGenerator[Event]:
    """A run that takes off after step `last` of the part `at`; `is_over`: it only goes back.

    dropped: what held until now, and is on no way to there.
    """
    kept = [*parts[:at], Part(parts[at].run, last)]
    later = [*parts[at + 1 :], *dropped]
    gone = [*_after(parts[at], last), *(step for part in later for step in part.steps)]
    model = None if is_over else await agent.chosen_model()
    work = agent.work_class(agent, model, limits or agent.limits)

    async def begin(work: Work) -> None:
        done = await put_back(agent, kept)
        done.notes += _outside(gone)
        if tasks := [one_line(part.run.task, 60) for part in later if part.run.started and not part.run.started.parent]:
            done.notes.append(f"Taken back, too: {'; '.join(tasks)}.")
        await work.begin(task, author=author, parent=parts[at].run.id, parent_step=last, goes_on=not is_over)
        work.step = last
        await work.emit(RunResumed(step=last, note=done.text))
        if done.notes and not is_over:
            await work.emit(Told(step=last + 1, text=done.text, by="rewind"))
        if instruction:
            await work.emit(Told(step=last + 1, text=instruction, by="person"))
        if code is not None:
            await _by_person(work, code)

    async with aclosing(agent.done_by(work, begin)) as events:
        async for event in events:
            yield event


async def _gone_back(
    agent: CodeAgent, parts: Sequence[Part], at: int, last: int, *, said: str, dropped: Sequence[Part] = ()
) -> Run:
    """Go back, and only that; the run that says so. Raises `SandboxUnavailable` where all is as it was before."""
    events = _from(agent, parts, at, last, task=said, author="person", is_over=True, dropped=dropped)
    done = await _collected(events)
    if done.started is None:
        raise SandboxUnavailable(done.reason)
    return done


def _dropped(runs: Sequence[Run], parts: Sequence[Part]) -> list[Part]:
    """What holds of the runs and is not in `parts`."""
    kept = {part.run.id for part in parts}
    return [part for part in holding(runs) if part.run.id not in kept]


async def _by_person(work: Work, code: str) -> None:
    """The next step is a person's."""
    work.step += 1
    work.meter.steps += 1
    await work.emit(Told(step=work.step, text=f"The user wrote this step:\n```python\n{code}\n```", by="rewind"))
    await work.emit(ActionProposed(step=work.step, thought="", code=code))
    await work.emit(ActionDecided(step=work.step, verdict="edited", by="person", code=code))
    await work.act(code)


def _before_last(parts: Sequence[Part], steps: int) -> tuple[int, int]:
    """The part, and the last step of it that stays, when so many steps are taken back. Raises `UsageError`."""
    if steps < 1:
        raise UsageError(f"How many steps? A number from 1, not {steps}.")
    left = steps
    for at in range(len(parts) - 1, -1, -1):
        numbers = [step.number for step in parts[at].steps if step.finished]
        if left <= len(numbers):
            return at, ([0, *numbers])[len(numbers) - left]
        left -= len(numbers)
    raise UsageError(f"There are only {steps - left} steps to take back.")


def _after(part: Part, last: int) -> list[Step]:
    return [step for step in part.steps if step.number > last]


def _outside(gone: Sequence[Step]) -> list[str]:
    """What the steps that are gone did outside of the sandbox: it stays as it is."""
    names = [call.name for step in gone for call in step.calls if call.error is None]
    if not names:
        return []
    counted = ", ".join(f"{name} ({names.count(name)})" for name in dict.fromkeys(names))
    return [f"Not taken back: what tools did outside of the sandbox: {counted}."]


def _chosen(runs: Sequence[Run], run_id: str) -> Run:
    """The run of that id, or the last one of an agent. Raises `UsageError`."""
    for run in reversed(runs):
        if run.started and (run.id.startswith(run_id) if run_id else run.started.author == "agent"):
            return run
    raise UsageError(f"There is no run {run_id!r} in this conversation." if run_id else "There was no run yet.")


async def _collected(events: AsyncGenerator[Event]) -> Run:
    async with aclosing(events):
        return Run([event async for event in events if not event.is_live])
