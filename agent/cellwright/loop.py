"""The loop: ask, decide, act, observe, until there is an answer, a limit, or a stop.

`CodeAgent` is what lasts: model, tools, sandbox, memory, listeners. `Work` is one task being done; it emits events,
and waits for every listener before it goes on, so that what the next step depends on is on disk before that step
begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from . import __version__, events
from .approval import decide
from .asking import StreamedReply
from .called import how_it_was_stopped, meter_for
from .checks import refused
from .errors import CellwrightError, JournalError, UsageError
from .guard import same_failures
from .host_call import call_tool, on_record
from .identity import new_id
from .last_words import say_best_answer, take_as_answer
from .limits import Exceeded, Limits
from .models.base import Model, Sampling
from .observations import CUT_CODE, REPEATED, describe, ending
from .outputs import CellOutput
from .run import Run
from .sandbox.base import AtHand, Callbacks, Execution, Failed, Finished
from .secrets import redacted

if TYPE_CHECKING:
    from .agent import CodeAgent

Listener: TypeAlias = Callable[[events.Event], Awaitable[None] | None]
"""Called with every event, before the loop goes on; sync or async."""
Guard: TypeAlias = Callable[[str, str, AtHand], str | None]
"""(code, task, what was at hand) -> why the code must not run, or None."""

GIVE_UP_AFTER = 3
"""So many replies in a row without an action, or with the same code failing in the same way, end the run."""

CURRENT: ContextVar[Work | None] = ContextVar("CURRENT", default=None)
"""The work in whose task a tool is called: an agent that is called as a tool finds its caller here."""


class Work:
    """One task being done."""

    def __init__(self, agent: CodeAgent, model: Model | None, limits: Limits) -> None:
        self.agent = agent
        self.model = model
        self.run = Run()
        self.run_id = new_id()
        self.caller = CURRENT.get()
        self.meter = meter_for(limits, self.caller)
        self.task: asyncio.Task[None] | None = None
        self.events: asyncio.Queue[events.Event | None] = asyncio.Queue()
        self.step = self.seq = 0
        self._journal = agent.open_journal()
        self.at_hand = AtHand()
        self.is_stopped = False

    def stop(self) -> None:
        """End with status `interrupted`; what is open is closed first."""
        if self.task and not self.is_stopped:
            self.is_stopped = True
            self.task.cancel()

    async def emit(self, event: events.Event) -> None:
        """Number the event, remember it, and wait until everybody has heard it."""
        event, stopped = redacted(replace(event, seq=self.seq, time=time.time())), None
        if not event.is_live:
            self.seq += 1
            self.run.add(event)
            if self.agent.memory:
                self.agent.memory.add(event)
            if self._journal:
                try:
                    await self._journal.append(self.run_id, event)
                except JournalError:
                    self._journal = None  # the run ends now, and its end can't be stored either
                    raise
                except asyncio.CancelledError as stop:
                    stopped = stop  # the journal has it all the same, so everybody else must hear it, too
        for listener in self.agent.listeners:
            heard = listener(event)
            if heard is not None:
                await heard
        self.events.put_nowait(event)
        if stopped:
            raise stopped

    # ---- a task -------------------------------------------------------------------------------------------------

    async def do(self, begin: Callable[[Work], Awaitable[None]]) -> None:
        """The whole run: begin, take steps until it ends, say how it ended. Without a model, to begin is all."""
        status: events.Status = "success"
        reason = ""
        CURRENT.set(self)
        try:
            await begin(self)
            if self.model:
                await self._steps(self.model)
        except Exceeded as limit:
            status, reason = limit.status, limit.reason
            await say_best_answer(self, limit)
        except asyncio.CancelledError:
            self._uncancel()
            status, reason = await how_it_was_stopped(self)
        except CellwrightError as error:
            status, reason = "failed", str(error)
        await self._end(status, reason)

    def _uncancel(self) -> None:
        if self.task:
            self.task.uncancel()

    async def _end(self, status: events.Status, reason: str) -> None:
        step = self.run.steps[-1] if self.run.steps else None
        if status == "success" and step and step.outcome == "error":
            status, reason = "failed", "The code raised an error."
        if step and step.decided and step.finished is None and step.decided.verdict != "denied":
            outcome: events.Outcome = "interrupted" if status == "interrupted" else "died"
            await self.emit(events.ActionFinished(step=step.number, outcome=outcome, seconds=0.0, note=reason))
        if self.run.started is None:
            self._journal = None  # what never began is no run
        ended = events.RunEnded(status=status, reason=reason, totals=self.meter.totals())
        try:
            await self.emit(ended)
        except JournalError as error:
            # The journal fails at the last line: everybody else still hears the end.
            await self.emit(replace(ended, status="failed", reason=str(error)))

    async def _steps(self, model: Model) -> None:
        while self.run.answered is None:
            self.meter.before_reply()
            self.meter.steps += 1
            self.step += 1
            for prepare in self.agent.before_step:
                await prepare(self)
            await self.take(await self.ask(model))

    async def take(self, asked: StreamedReply) -> None:
        """Do what the reply says."""
        code = await self._propose(asked)
        if code is None:
            await self._no_action(asked.is_cut_off)
        elif allowed := await self._decide(code):
            await self.act(allowed)

    async def begin(self, task: str, values: Sequence[events.ValuePut] = (), **more: Any) -> None:
        """Start the sandbox, put the values in, and say that the run has begun; `more`: fields of `RunStarted`."""
        agent, model, is_fresh = self.agent, self.model, False
        if model:
            model.warm_up()
            is_fresh = not agent.memory_for(model).has_task or agent.is_fresh
        facts = await agent.sandbox.start()
        tools = tuple(tool.facts for tool in agent.tools.values())
        await agent.sandbox.offer(tools)
        for value in values:
            await agent.sandbox.put(value.name, value.form, value.value)
        if model:
            self.at_hand = await agent.sandbox.at_hand()
            agent.is_fresh = False
        started = events.RunStarted(
            run_id=self.run_id,
            conversation=agent.conversation,
            task=task,
            author="agent" if model else "person",
            context=describe(self.at_hand, agent.notebook),
            images=agent.images if model else (),
            files=agent.files,
            origin=agent.origin,
            model=model.name if model else "",
            tools=tools,
            limits=self.meter.limits,
            sandbox=facts,
            is_fresh=is_fresh,
            state_lost=agent.instance not in (0, facts.instance),
            caller=self.caller.run_id if self.caller else None,
            version=__version__,
        )
        agent.instance = facts.instance
        await self.emit(replace(started, **more))
        for value in values:
            await self.emit(value)

    # ---- ask ----------------------------------------------------------------------------------------------------

    async def ask(self, model: Model) -> StreamedReply:
        """Stream a reply until its first action is complete. Raises `ModelError`, `Exceeded`."""
        memory, limits = self.agent.memory, self.meter.limits
        assert memory is not None
        warmer = 0.7 if same_failures(self.run.steps) > 1 else None
        form = self.agent.reply_format
        sampling = Sampling(warmer, limits.reply_tokens, form.parameters(model, self.agent.tools))
        reply = StreamedReply(model, memory, sampling, form.scanner())
        try:
            async with (
                asyncio.timeout(self.meter.seconds_left()),
                aclosing(model.stream(memory.messages, sampling)) as parts,
                aclosing(reply.pieces(parts)) as pieces,
            ):
                async for text in pieces:
                    await self.emit(events.ReplyDelta(step=self.step, text=text))
        except TimeoutError:
            raise self.meter.out_of_time() from None
        finally:
            # What was written before a stop or an error was paid for, so it belongs into the record.
            if reply.is_over or reply.scanner.text:
                received = reply.received(self.step)
                self.meter.add_reply(received.usage, received.cost)
                await self.emit(received)
        return reply

    async def _propose(self, asked: StreamedReply) -> str | None:
        reply = self.agent.reply_format.read(asked)
        if reply.code is None or asked.is_cut_off:
            return None
        await self.emit(events.ActionProposed(step=self.step, thought=reply.thought, code=reply.code))
        return reply.code

    async def _no_action(self, was_cut: bool) -> None:
        """Tell the model that nothing was run; after some such replies, end with what it said."""
        step = self.run.steps[-1]
        await self.emit(events.NoAction(step=self.step, note=CUT_CODE if was_cut else self.agent.reply_format.no_code))
        last = self.run.steps[-GIVE_UP_AFTER:]
        if len(last) == GIVE_UP_AFTER and all(isinstance(step.finished, events.NoAction) for step in last):
            await take_as_answer(self, step.reply)
            raise Exceeded("failed", f"The model wrote no code {GIVE_UP_AFTER} times in a row.")

    # ---- decide, act ----------------------------------------------------------------------------------------------

    async def _decide(self, code: str) -> str | None:
        """The code that may run, if any; a denied action is an observation."""
        decided = await decide(self, code)
        await self.emit(decided)
        if decided.verdict != "denied":
            return decided.code
        finished = events.ActionFinished(step=self.step, outcome="denied", seconds=0.0, note=decided.reason)
        await self.emit(finished)
        self._end_when_stuck()
        return None

    async def act(self, code: str) -> None:
        """Run the code; what it shows, and how it ends, are events."""
        agent, limits = self.agent, self.meter.limits
        left = [seconds for seconds in (limits.action_seconds, self.meter.seconds_left()) if seconds is not None]
        callbacks = Callbacks(self._output, lambda call: call_tool(self, call), on_record(self, agent.on_input))
        begun = time.monotonic()
        try:
            execution = await agent.sandbox.run(code, callbacks, min(left) if left else None)
        except asyncio.CancelledError:
            self._uncancel()
            seconds = time.monotonic() - begun
            await self.emit(events.ActionFinished(step=self.step, outcome="interrupted", seconds=seconds))
            raise
        agent.execution = execution
        refusal = ""
        if isinstance(execution, Finished | Failed) and execution.answer:
            given = events.AnswerGiven(step=self.step, **execution.answer.as_fields())
            refusal = await refused(agent.final_answer_checks, given, self.run)
            if not refusal:
                await self.emit(given)
        await self._finish(execution, refusal)
        memory = agent.memory
        if memory and memory.overflow and self.run.answered is None and agent.sandbox.is_running:
            await agent.sandbox.keep(*memory.overflow)
        self._end_when_stuck()

    async def _finish(self, execution: Execution, refusal: str) -> None:
        outcome, note, state_lost = ending(execution, refusal)
        if outcome == "error" and same_failures(self.run.steps, ended=True) > 1:
            note = REPEATED
        await self.emit(
            events.ActionFinished(
                step=self.step, outcome=outcome, seconds=execution.seconds, note=note, state_lost=state_lost
            )
        )
        if state_lost:
            with contextlib.suppress(UsageError):
                self.agent.instance = (await self.agent.sandbox.start()).instance

    def _end_when_stuck(self) -> None:
        if self.run.answered is None and same_failures(self.run.steps) >= GIVE_UP_AFTER:
            raise Exceeded("failed", f"The model wrote the same failing code {GIVE_UP_AFTER} times in a row.")

    async def _output(self, output: CellOutput) -> None:
        await self.emit(events.Output(step=self.step, output=output))

    async def by_hand(self, code: str) -> None:
        """Run a person's own code."""
        await self.begin(code)
        self.step = 1
        await self.emit(events.ActionProposed(step=1, thought="", code=code))
        await self.emit(events.ActionDecided(step=1, verdict="approved", by="person", code=code))
        await self.act(code)
