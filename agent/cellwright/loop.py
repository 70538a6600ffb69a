"""The loop: ask, decide, act, observe, until there is an answer, a limit, or a stop.

`CodeAgent` is what lasts: model, tools, sandbox, memory, listeners. `Work` is one task being done; it emits events,
and waits for every listener before it goes on, so that what the next step depends on is on disk before that step
begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import CellwrightError, JournalError, ToolCallError, UsageError, nearest
from .events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    CellOutput,
    Event,
    Json,
    NoAction,
    Outcome,
    Output,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunStarted,
    Status,
    ToolCalled,
    ValuePut,
)
from .limits import Exceeded, Limits, Meter
from .memory import CHARACTERS_PER_TOKEN, describe
from .models.base import Model, Reasoning, ReplyEnd, ReplyPart, Sampling, Text
from .replies import FenceScanner
from .run import Run
from .sandbox.base import (
    Answer,
    AtHand,
    Call,
    Callbacks,
    CallResult,
    Died,
    Execution,
    Failed,
    Finished,
    Raised,
    Returned,
)

if TYPE_CHECKING:
    from .agent import CodeAgent

Listener: TypeAlias = Callable[[Event], Awaitable[None] | None]
"""Called with every event, before the loop goes on; sync or async."""
Guard: TypeAlias = Callable[[str, str, AtHand], str | None]
"""(code, task, what was at hand) -> why the code must not run, or None."""

SILENT_REPLIES = 3
"""So many replies in a row without an action end the run."""
SAME_FAILURES = 3
"""So often may the same code fail in the same way before the run ends."""
CUT_GRACE_SECONDS = 0.25
"""How long the stream may take to end by itself once the action is complete: then the provider says what it cost."""

_NO_CODE = (
    "Your reply had no Python code block, so nothing was run. Reply with one thought and one block, e.g.\n"
    "Thought: Compute it and answer.\n```python\nfinal_answer(6 * 7)\n```"
)
_CUT_CODE = "Your reply was longer than it may be and was cut off, so nothing was run. Write a shorter code block."
_REPEATED = "This is the same code with the same error as before. Do it in another way."


class Work:
    """One task being done."""

    def __init__(self, agent: CodeAgent, model: Model | None, limits: Limits) -> None:
        self.agent = agent
        self.model = model
        self.meter = Meter(limits)
        self.run = Run()
        self.run_id = new_id()
        self.task: asyncio.Future[None] | None = None
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.step = 0
        self._seq = 0
        self._journal = agent.open_journal()
        self._at_hand = AtHand()
        self._stopped = False

    def stop(self) -> None:
        """End with status `interrupted`; what is open is closed first."""
        if self.task and not self._stopped:
            self._stopped = True
            self.task.cancel()

    async def emit(self, event: Event) -> None:
        """Number the event, remember it, and wait until everybody has heard it."""
        event = replace(event, seq=self._seq, time=time.time())
        if not isinstance(event, ReplyDelta):
            self._seq += 1
            self.run.add(event)
            if self.agent.memory:
                self.agent.memory.add(event)
            if self._journal:
                try:
                    await self._journal.append(self.run_id, event)
                except JournalError:
                    self._journal = None  # the run ends now, and its end can't be stored either
                    raise
        for listener in self.agent.listeners:
            heard = listener(event)
            if heard is not None:
                await heard
        self.events.put_nowait(event)

    # ---- a task -------------------------------------------------------------------------------------------------

    async def do(self, task: str, values: Sequence[ValuePut]) -> None:
        """The whole run: begin, take steps until it ends, say how it ended."""
        await self._closing(self._steps(task, values))

    async def _closing(self, doing: Awaitable[None]) -> None:
        status: Status = "success"
        reason = ""
        try:
            await doing
        except Exceeded as limit:
            status, reason = limit.status, limit.reason
        except asyncio.CancelledError:
            status, reason = "interrupted", "Stopped by the user."
            self._uncancel()
        except CellwrightError as error:
            status, reason = "failed", str(error)
        await self._end(status, reason)

    def _uncancel(self) -> None:
        if isinstance(self.task, asyncio.Task):
            self.task.uncancel()

    async def _end(self, status: Status, reason: str) -> None:
        step = self.run.steps[-1] if self.run.steps else None
        if status == "success" and step and step.outcome == "error":
            status, reason = "failed", "The code raised an error."
        if step and step.decided and step.finished is None and step.decided.verdict != "denied":
            outcome: Outcome = "interrupted" if status == "interrupted" else "died"
            await self.emit(ActionFinished(step=step.number, outcome=outcome, seconds=0.0, note=reason))
        ended = RunEnded(status=status, reason=reason, totals=self.meter.totals())
        try:
            await self.emit(ended)
        except JournalError as error:
            # The journal fails at the last line: everybody else still hears the end.
            await self.emit(replace(ended, status="failed", reason=str(error)))

    async def _steps(self, task: str, values: Sequence[ValuePut]) -> None:
        assert self.model is not None
        await self._begin(task, values)
        while self.run.answered is None:
            self.meter.before_reply()
            self.meter.steps += 1
            self.step += 1
            code = await self._propose(await self._ask(self.model))
            if code is None:
                await self._no_action()
            elif await self._decide(code):
                await self._act(code)

    async def _begin(self, task: str, values: Sequence[ValuePut]) -> None:
        agent, model = self.agent, self.model
        assert model is not None
        model.warm_up()
        memory = agent.memory_for(model)
        facts = await agent.sandbox.start()
        await agent.sandbox.offer([tool.facts for tool in agent.tools.values()])
        for value in values:
            await agent.sandbox.put(value.name, value.form, value.value)
        self._at_hand = await agent.sandbox.at_hand()
        started = RunStarted(
            run_id=self.run_id,
            conversation=agent.conversation,
            task=task,
            context=describe(self._at_hand),
            model=model.name,
            tools=tuple(tool.facts for tool in agent.tools.values()),
            limits=self.meter.limits,
            sandbox=facts,
            is_fresh=agent.is_fresh or not memory.has_task,
            version=_version(),
        )
        agent.is_fresh = False
        await self.emit(started)
        for value in values:
            await self.emit(value)

    # ---- ask ----------------------------------------------------------------------------------------------------

    async def _ask(self, model: Model) -> tuple[FenceScanner, ReplyEnd]:
        """Stream a reply until its first action is complete. Raises `ModelError`, `Exceeded`."""
        memory, limits = self.agent.memory, self.meter.limits
        assert memory is not None
        sampling = Sampling(max_tokens=limits.reply_tokens, temperature=0.7 if self._failures() > 1 else None)
        reply = _Reply(memory.sha256, _parameters(sampling))
        try:
            async with (
                asyncio.timeout(self.meter.seconds_left()),
                aclosing(model.stream(memory.messages, sampling)) as parts,
            ):
                await self._listen(parts, reply, (limits.reply_tokens or 1 << 20) * 2 * CHARACTERS_PER_TOKEN)
        except TimeoutError:
            await self._receive(model, reply)
            raise self.meter.out_of_time() from None
        except (asyncio.CancelledError, CellwrightError):
            # What was written until here was paid for, so it belongs into the record.
            if reply.scanner.text:
                await self._receive(model, reply)
            raise
        await self._receive(model, reply)
        return reply.scanner, reply.end or ReplyEnd()

    async def _listen(self, parts: AsyncGenerator[ReplyPart], reply: _Reply, longest: int) -> None:
        """Take the reply's parts until it ends, its first action is complete, or it has `longest` characters."""
        async for part in parts:
            if isinstance(part, ReplyEnd):
                reply.end = part
            elif isinstance(part, Reasoning):
                reply.reasoning += part.text
            else:
                reply.first = reply.first or time.monotonic() - reply.begun
                await self.emit(ReplyDelta(step=self.step, text=part.text))
                if reply.scanner.feed(part.text):
                    reply.end = await _natural_end(parts)
                    return
                if len(reply.scanner.text) > longest:
                    reply.end = ReplyEnd(is_truncated=True)
                    return

    async def _receive(self, model: Model, reply: _Reply) -> None:
        """Count the reply and put it on record."""
        memory = self.agent.memory
        assert memory is not None
        end, text = reply.end or ReplyEnd(), reply.scanner.text
        usage, cost = end.usage, end.cost
        if usage is None:
            counted, cost = model.count(memory.messages, text)
            usage = replace(counted, estimated=True)
        self.meter.add_reply(usage, cost)
        await self.emit(
            ReplyReceived(
                step=self.step,
                text=text[: reply.scanner.read().end],
                usage=usage,
                cost=cost,
                seconds=time.monotonic() - reply.begun,
                first_token_seconds=reply.first,
                model=end.model,
                cut=reply.end is None or end.usage is None,
                reasoning=reply.reasoning,
                parameters=reply.parameters,
                prompt_sha256=reply.prompt_sha256,
            )
        )

    async def _propose(self, asked: tuple[FenceScanner, ReplyEnd]) -> str | None:
        scanner, end = asked
        reply = scanner.read()
        if reply.code is None or (end.is_truncated and not scanner.is_complete):
            return None
        await self.emit(ActionProposed(step=self.step, thought=reply.thought, code=reply.code))
        return reply.code

    async def _no_action(self) -> None:
        """Tell the model that nothing was run; after some such replies, end with what it said."""
        step = self.run.steps[-1]
        text = step.reply.text.strip() if step.reply else ""
        was_cut = "```" in text
        await self.emit(NoAction(step=self.step, note=_CUT_CODE if was_cut else _NO_CODE))
        last = self.run.steps[-SILENT_REPLIES:]
        if len(last) == SILENT_REPLIES and all(isinstance(step.finished, NoAction) for step in last):
            if text:
                data = {"text/plain": text, "text/markdown": text}
                await self.emit(
                    AnswerGiven(step=self.step, data=data, value=text, has_value=True, type_name="str", confirmed=False)
                )
            raise Exceeded("failed", f"The model wrote no code {SILENT_REPLIES} times in a row.")

    # ---- decide, act ----------------------------------------------------------------------------------------------

    async def _decide(self, code: str) -> bool:
        """Ask the guards; a denied action is an observation."""
        task = self.run.task
        for guard in self.agent.guards:
            if reason := guard(code, task, self._at_hand):
                by = getattr(guard, "__name__", type(guard).__name__)
                await self.emit(ActionDecided(step=self.step, verdict="denied", by=by, code=code, reason=reason))
                await self.emit(ActionFinished(step=self.step, outcome="denied", seconds=0.0, note=reason))
                self._end_when_stuck()
                return False
        await self.emit(ActionDecided(step=self.step, verdict="approved", by="auto", code=code))
        return True

    async def _act(self, code: str) -> None:
        """Run the code; what it shows, and how it ends, are events."""
        agent, limits = self.agent, self.meter.limits
        left = [seconds for seconds in (limits.action_seconds, self.meter.seconds_left()) if seconds is not None]
        callbacks = Callbacks(self._output, self._call, agent.on_input)
        begun = time.monotonic()
        try:
            execution = await agent.sandbox.run(code, callbacks, min(left) if left else None)
        except asyncio.CancelledError:
            self._uncancel()
            seconds = time.monotonic() - begun
            await self.emit(ActionFinished(step=self.step, outcome="interrupted", seconds=seconds))
            raise
        agent.execution = execution
        if isinstance(execution, Finished | Failed) and execution.answer:
            await self.emit(AnswerGiven(step=self.step, **_fields(execution.answer)))
        await self._finish(execution)
        memory = agent.memory
        if memory and memory.overflow and self.run.answered is None and agent.sandbox.is_running:
            await agent.sandbox.keep(*memory.overflow)
        self._end_when_stuck()

    async def _finish(self, execution: Execution) -> None:
        outcome, note, state_lost = _ending(execution)
        if outcome == "error" and self._failures(ended=True) > 1:
            note = _REPEATED
        await self.emit(
            ActionFinished(step=self.step, outcome=outcome, seconds=execution.seconds, note=note, state_lost=state_lost)
        )
        if state_lost:
            with contextlib.suppress(UsageError):
                await self.agent.sandbox.start()

    def _failures(self, ended: bool = False) -> int:
        """How often in a row, up to now, the same code failed in the same way."""
        steps = self.run.steps
        last = steps[-1] if steps else None
        if last is None or not (ended or last.outcome in ("error", "denied", "timeout", "died")):
            return 0
        count = 0
        for step in reversed(steps):
            same_error = (step.error and step.error.evalue) == (last.error and last.error.evalue)
            if step.code != last.code or not same_error or (step.outcome == "ok"):
                break
            count += 1
        return count

    def _end_when_stuck(self) -> None:
        if self.run.answered is None and self._failures() >= SAME_FAILURES:
            raise Exceeded("failed", f"The model wrote the same failing code {SAME_FAILURES} times in a row.")

    async def _output(self, output: CellOutput) -> None:
        await self.emit(Output(step=self.step, output=output))

    async def _call(self, call: Call) -> CallResult:
        """Call a tool of the host for code in the sandbox."""
        begun = time.monotonic()
        result: CallResult
        try:
            tool = self.agent.tools.get(call.name)
            if tool is None:
                raise ToolCallError(f"No tool {call.name!r}{nearest(call.name, self.agent.tools)}")
            result = Returned(await tool(*call.args, **call.kwargs))
        except ToolCallError as error:
            result = Raised(str(error))
        await self.emit(
            ToolCalled(
                step=self.step,
                name=call.name,
                args=call.args,
                kwargs=call.kwargs,
                result=result.value if isinstance(result, Returned) else None,
                error=result.message if isinstance(result, Raised) else None,
                seconds=time.monotonic() - begun,
            )
        )
        return result

    # ---- a person's own cell ----------------------------------------------------------------------------------------

    async def run_by_hand(self, code: str) -> None:
        """Run a person's code, as a run of its own."""
        await self._closing(self._by_hand(code))

    async def _by_hand(self, code: str) -> None:
        agent = self.agent
        facts = await agent.sandbox.start()
        await agent.sandbox.offer([tool.facts for tool in agent.tools.values()])
        self.step = 1
        await self.emit(
            RunStarted(
                run_id=self.run_id,
                conversation=agent.conversation,
                task=code,
                author="person",
                tools=tuple(tool.facts for tool in agent.tools.values()),
                limits=self.meter.limits,
                sandbox=facts,
                version=_version(),
            )
        )
        await self.emit(ActionProposed(step=1, thought="", code=code))
        await self.emit(ActionDecided(step=1, verdict="approved", by="person", code=code))
        await self._act(code)


@dataclass(slots=True)
class _Reply:
    """A reply while it streams in."""

    prompt_sha256: str
    parameters: Mapping[str, Json]
    scanner: FenceScanner = field(default_factory=FenceScanner)
    reasoning: str = ""
    begun: float = field(default_factory=time.monotonic)
    first: float | None = None
    """Seconds until its first text."""
    end: ReplyEnd | None = None


async def _natural_end(parts: AsyncGenerator[ReplyPart]) -> ReplyEnd | None:
    """The reply's own end, when the model had nothing more to say: it tells tokens and price exactly."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CUT_GRACE_SECONDS):
            async for part in parts:
                if isinstance(part, ReplyEnd):
                    return part
                if isinstance(part, Text) and part.text.strip():
                    return None
    return None


def _ending(execution: Execution) -> tuple[Outcome, str, bool]:
    """Outcome, the line that the model is told, and whether all variables are gone."""
    if isinstance(execution, Finished) or execution_answered(execution):
        return "ok", "", False
    if isinstance(execution, Failed):
        return "error", "", False
    if isinstance(execution, Died):
        return "died", f"The sandbox ended ({execution.cause}). A new one was started; all variables are gone.", True
    note = f"The code was stopped after {execution.seconds:.0f} s, which is as long as it may run."
    if execution.state_lost:
        note += " It could only be stopped by ending the sandbox; all variables are gone."
    return "timeout", note, execution.state_lost


def execution_answered(execution: Execution) -> bool:
    """True when `final_answer` was called, whatever came after it."""
    return isinstance(execution, Finished | Failed) and execution.answer is not None


def _version() -> str:
    from . import __version__

    return __version__


def new_id() -> str:
    return uuid.uuid4().hex[:12]


def _parameters(sampling: Sampling) -> Mapping[str, Json]:
    known = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens, **sampling.more}
    return {name: value for name, value in known.items() if value is not None}


def _fields(answer: Answer) -> dict[str, Any]:
    return {item.name: getattr(answer, item.name) for item in fields(answer)}
