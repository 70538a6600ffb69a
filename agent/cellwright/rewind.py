"""Going back, and going on: undo, branch, edit a step, resume a run whose process was killed.

Each begins a fresh sandbox and rebuilds in it what still holds (`rebuild.py`), lets the conversation end there, and
puts on record what was done. Runs are never changed: one that branches names its parent, one that is resumed shows
the seam.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .asking import StreamedReply
from .errors import SandboxUnavailable, UsageError, one_line
from .events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    Event,
    ReplyReceived,
    RunResumed,
    RunStarted,
    Told,
    ValuePut,
)
from .limits import Exceeded
from .lineage import Part, holding
from .loop import Work
from .memory import Memory
from .models.base import Model, ReplyEnd, ReplyPart, Sampling, Text
from .outputs import Json
from .rebuild import Rebuilt, rebuild
from .run import Run, Step

if TYPE_CHECKING:
    from .agent import CodeAgent
    from .journal import Journal

NOT_REPEATED = (
    "This was under way when the process was killed. It is not repeated by itself; what it had done by then may be "
    "missing or half done."
)
HAD_ENDED = "The process was killed when this had just ended; how long it took is not on record."

_VARIABLE = re.compile(r"^- variable (\w+): ", re.MULTILINE)


async def undo(agent: CodeAgent, steps: int = 1) -> Run:
    """Take back the last steps of the conversation: variables, files and memory are as before them.

    The run that says so on record; its `RunResumed.note` names what can't be taken back. The task whose steps were
    taken back is not gone on with: give the next one, or `branch`. Raises `UsageError`, `SandboxUnavailable`.
    """
    agent.need_rest()
    parts = holding(await _conversation(agent))
    at, last = _before_last(parts, steps)
    undone = f"undo {steps}"
    return await _gone_back(agent, parts, at, last, said=undone)


async def branch(
    agent: CodeAgent, step: int, instruction: str = "", *, code: str | None = None, run_id: str = "", **options: Any
) -> AsyncGenerator[Event]:
    """Go back to before a step of a run, and on from there in another way; yields what happens.

    step: from 1. instruction: what the model is told. code: a person's own code for that step instead of the model's.
    run_id: the last run by default. options: `limits`. Raises `UsageError`, `SandboxUnavailable`.
    """
    agent.need_rest()
    runs = await _conversation(agent)
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
    journal = _journal(agent)
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
        runs = await _conversation(agent)
        parts = holding(runs[: [known.id for known in runs].index(run.id) + 1])
        options["dropped"] = _dropped(runs, parts)
        events = _from(agent, parts, len(parts) - 1, _last_number(run), task=run.task, **options)
    else:
        events = _go_on(agent, run, **options)
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
    run = await _journal(agent).run(run_id)
    assert run.started is not None
    if agent.conversation == run.started.conversation and agent.sandbox.is_running:
        raise UsageError(f"Run {run.id} has its answer, and its variables are there. Give the next task.")
    agent.conversation = run.started.conversation
    runs = await _conversation(agent)
    parts = holding(runs[: [known.id for known in runs].index(run.id) + 1])
    last = _last_number(run)
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
        done = await _put_back(agent, kept)
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
    await work.emit(Told(step=work.step, text=f"The user wrote this step:\n```python\n{code}\n```", by="person"))
    await work.emit(ActionProposed(step=work.step, thought="", code=code))
    await work.emit(ActionDecided(step=work.step, verdict="edited", by="person", code=code))
    await work.act(code)


# ---- after a crash --------------------------------------------------------------------------------------------------


async def _go_on(agent: CodeAgent, run: Run, limits: Any = None) -> AsyncGenerator[Event]:
    """The run itself goes on, its record with it."""
    model, journal = await agent.chosen_model(), _journal(agent)
    await journal.hold(run.id)
    run = await journal.run(run.id)  # again: until it was held, another process may have gone on with it
    assert run.started is not None
    if run.ended:
        raise UsageError(f"Run {run.id} was ended by another process in the meantime. Resume it again to go on.")
    agent.conversation = run.started.conversation
    runs = await _conversation(agent)
    parts = holding(runs[: [known.id for known in runs].index(run.id) + 1])
    work = agent.work_class(agent, model, limits or run.started.limits)
    work.run, work.run_id, work.step = run, run.id, _last_number(run)
    work.seq = run.events[-1].seq + 1
    _count_spent(work, [run, *await journal.called_by(run.id)])

    async def begin(work: Work) -> None:
        done = await _put_back(agent, parts)
        facts = await agent.sandbox.start()
        await _need_values(agent, run)
        await agent.sandbox.offer(tuple(tool.facts for tool in agent.tools.values()))
        agent.instance = facts.instance
        agent.memory_for(model)
        await work.emit(RunResumed(step=work.step, note=done.text, sandbox=facts))
        if done.notes:
            await work.emit(Told(step=work.step + 1, text=done.text, by="rewind"))
        await _finish_step(work, model)

    async with aclosing(agent.done_by(work, begin)) as events:
        async for event in events:
            yield event


def _count_spent(work: Work, runs: Sequence[Run]) -> None:
    """Count what the run, the first of `runs`, and those that it called spent before; not the time it lay there."""
    for step in (step for run in runs for step in run.steps):
        for paid in (step.plan, step.reply):
            if paid:
                work.meter.add_reply(paid.usage, paid.cost)
    happened = runs[0].events
    idle = sum(now.time - before.time for before, now in pairwise(happened) if isinstance(now, RunResumed))
    work.meter.steps = runs[0].totals.steps
    work.meter.started -= happened[-1].time - happened[0].time - idle


async def _need_values(agent: CodeAgent, run: Run) -> None:
    """Raises `UsageError` where the process was killed before the values of the task were on record."""
    if run.started is None or not all(isinstance(event, RunStarted | ValuePut) for event in run.events):
        return  # something came after the values, so all of them are there
    there = {variable.name for variable in (await agent.sandbox.at_hand()).variables}
    if missing := [name for name in _VARIABLE.findall(run.started.context) if name not in there]:
        raise UsageError(
            f"The process was killed before {', '.join(missing)} {'was' if len(missing) == 1 else 'were'} on record, "
            "and before anything was done. Give the task again."
        )


async def _finish_step(work: Work, model: Model) -> None:
    """Bring the step that was under way to its end: what was paid for is used, what ran is not run again."""
    step, answer = work.run.steps[-1] if work.run.steps else None, work.run.answered
    if answer is not None and not answer.confirmed:
        raise Exceeded("failed", "It ended without an answer that was confirmed; why was not on record yet.")
    if step is None or step.finished is not None:
        return
    if answer is not None:
        await work.emit(ActionFinished(step=step.number, outcome="ok", seconds=0.0, note=HAD_ENDED))
    elif step.decided is not None and step.decided.verdict == "denied":
        note = step.decided.reason
        await work.emit(ActionFinished(step=step.number, outcome="denied", seconds=0.0, note=note))
    elif step.decided is not None:
        await work.emit(ActionFinished(step=step.number, outcome="interrupted", seconds=0.0, note=NOT_REPEATED))
    elif step.reply is not None:
        assert work.agent.memory is not None
        asked = StreamedReply(model, work.agent.memory, Sampling(), work.agent.reply_format.scanner())
        async with aclosing(_said_again(step.reply)) as parts, aclosing(asked.pieces(parts)) as pieces:
            async for _ in pieces:
                pass
        await work.take(asked)


async def _said_again(reply: ReplyReceived) -> AsyncGenerator[ReplyPart]:
    """The reply as it had come; one that was longer than it might be is still cut off."""
    if reply.text:
        yield Text(reply.text)
    for call in reply.calls:
        yield call
    most = reply.parameters.get("max_tokens")
    yield ReplyEnd(reply.usage, reply.cost, is_truncated=isinstance(most, int) and reply.usage.completion >= most)


# ---- what both do ---------------------------------------------------------------------------------------------------


async def _put_back(agent: CodeAgent, parts: Sequence[Part]) -> Rebuilt:
    """Sandbox and memory as `parts` left them; both stay as they are where the new sandbox can't be had."""
    fresh = agent.sandbox.another()
    try:
        facts = await fresh.start()
        done = await rebuild(fresh, parts, Path.cwd())
    except BaseException:  # cancelled, too: the new sandbox must not stay behind; it is raised again
        await fresh.close()
        raise
    old, agent.sandbox = agent.sandbox, fresh
    agent.memory = _remembered(agent, parts)
    await old.close()
    results = getattr(agent, "results", None)
    if isinstance(results, dict):  # of a tool-calling agent: they are its variables
        results.clear()
        for part in parts:
            for step in part.steps:
                results.update(_results(part.run, step))
    agent.instance = facts.instance
    return done


def _results(run: Run, step: Step) -> dict[str, Json]:
    """What its calls returned, by the names under which later ones may use them: calls end in any order."""
    from .notebook.functions import texts_of

    returned = ((text.partition(" = ")[0], call) for call, text in texts_of(run, step))
    return {name: call.result for name, call in returned if name and call.error is None}


def _remembered(agent: CodeAgent, parts: Sequence[Part]) -> Memory | None:
    """What the model has been told of the parts; its head comes with the next request."""
    memory = Memory([])
    for part in parts:
        for event in part.events:
            memory.add(event)
    memory.overflow = None
    return memory if memory.has_task else None


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


def _last_number(run: Run) -> int:
    return max((step.number for step in run.steps if step.reply or step.decided), default=0)


def _chosen(runs: Sequence[Run], run_id: str) -> Run:
    """The run of that id, or the last one of an agent. Raises `UsageError`."""
    for run in reversed(runs):
        if run.started and (run.id.startswith(run_id) if run_id else run.started.author == "agent"):
            return run
    raise UsageError(f"There is no run {run_id!r} in this conversation." if run_id else "There was no run yet.")


async def _conversation(agent: CodeAgent) -> list[Run]:
    return await _journal(agent).conversation(agent.conversation)


def _journal(agent: CodeAgent) -> Journal:
    journal = agent.open_journal()
    if journal is None:
        raise UsageError("This agent keeps no journal, so there is nothing to go back to.")
    return journal


async def _collected(events: AsyncGenerator[Event]) -> Run:
    async with aclosing(events):
        return Run([event async for event in events if not event.is_live])
