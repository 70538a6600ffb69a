"""A run whose process was killed goes on from where its record ends.

What was paid for is used, what ran is not run again, and an action that was under way is reported.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .asking import StreamedReply
from .errors import UsageError
from .events import ActionFinished, Event, ReplyReceived, RunResumed, RunStarted, Told, ValuePut
from .limits import Exceeded
from .lineage import holding
from .loop import Work
from .models.base import Model, ReplyEnd, ReplyPart, Sampling, Text
from .observations import NOTEBOOK
from .put_back import conversation_of, journal_of, last_number, put_back
from .run import Run

if TYPE_CHECKING:
    from .agent import CodeAgent

NOT_REPEATED = (
    "This was under way when the process was killed. It is not repeated by itself; what it had done by then may be "
    "missing or half done."
)
HAD_ENDED = "The process was killed when this had just ended; how long it took is not on record."

_VARIABLE = re.compile(r"^- variable (\w+): ", re.MULTILINE)


async def go_on(agent: CodeAgent, run: Run, limits: Any = None) -> AsyncGenerator[Event]:
    """The run itself goes on, its record with it. Raises `UsageError`, `JournalError` where another process does it."""
    model, journal = await agent.chosen_model(), journal_of(agent)
    await journal.hold(run.id)
    run = await journal.run(run.id)  # again: until it was held, another process may have gone on with it
    assert run.started is not None
    if run.ended:
        raise UsageError(f"Run {run.id} was ended by another process in the meantime. Resume it again to go on.")
    agent.conversation = run.started.conversation
    runs = await conversation_of(agent)
    parts = holding(runs[: [known.id for known in runs].index(run.id) + 1])
    work = agent.work_class(agent, model, limits or run.started.limits)
    work.run, work.run_id, work.step = run, run.id, last_number(run)
    work.seq = run.events[-1].seq + 1
    _count_spent(work, [run, *await journal.called_by(run.id)])

    async def begin(work: Work) -> None:
        done = await put_back(agent, parts)
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
    if missing := [name for name in _VARIABLE.findall(run.started.context.partition(NOTEBOOK)[0]) if name not in there]:
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
