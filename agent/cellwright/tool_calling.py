"""The tool-calling agent: the model calls functions of the host by itself, several at once.

Its actions are native function calls (or calls written as text, for models that can't); those of one reply run at the
same time. No code is run, so no kernel is started. On record the calls stand as Python, one a line, so that the view
shows them and the audit notebook runs them again, like any action.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .agent import CodeAgent
from .checks import refused
from .errors import ToolCallError, nearest, one_line
from .events import ActionFinished, AnswerGiven, Output, ToolCalled, ToolProgress
from .facts import ToolUse
from .formats import FunctionCalls, arguments_of, calls_in
from .loop import Work
from .observations import as_text
from .outputs import Json, Stream
from .sandbox.none import NoSandbox

if TYPE_CHECKING:
    from .asking import StreamedReply

FINAL_ANSWER = "final_answer"


class ToolCallingWork(Work):
    """One task being done by function calls."""

    _calls: Sequence[ToolUse] = ()

    async def _propose(self, asked: StreamedReply) -> str | None:
        code = await super()._propose(asked)
        self._calls = asked.calls or calls_in(asked.scanner.text)
        return code

    async def act(self, code: str) -> None:
        begun, note = time.monotonic(), ""
        finals = [call for call in self._calls if call.name == FINAL_ANSWER]
        try:
            if finals and len(self._calls) > 1:
                note = "Nothing was called: final_answer must be called alone, when the other results are known."
            elif finals:
                note = await self._answer(finals[0])
            else:
                async with asyncio.timeout(self._seconds()), asyncio.TaskGroup() as group:
                    for index, call in enumerate(self._calls, 1):
                        group.create_task(self._do(call, f"result_{index}"))
        except TimeoutError:
            note = "The calls took longer than they may and were stopped."
        except asyncio.CancelledError:
            self._uncancel()
            await self._finished("interrupted", begun)
            raise
        failed = any(called.error for called in self.run.steps[-1].calls)
        outcome = "timeout" if note.startswith("The calls") else "denied" if note else "error" if failed else "ok"
        await self._finished(outcome, begun, note)
        self._end_when_stuck()

    def _seconds(self) -> float | None:
        left = [s for s in (self.meter.limits.action_seconds, self.meter.seconds_left()) if s is not None]
        return min(left) if left else None

    async def _finished(self, outcome: Any, begun: float, note: str = "") -> None:
        seconds = time.monotonic() - begun
        await self.emit(ActionFinished(step=self.step, outcome=outcome, seconds=seconds, note=note))

    async def _answer(self, call: ToolUse) -> str:
        """Take the answer; why it is not taken, where it is not."""
        arguments = arguments_of(call)
        if "answer" not in arguments and len(arguments) != 1:
            got = one_line(call.arguments, 80) or "nothing"
            return f"The answer was not taken: final_answer takes a JSON object with one key, answer; got {got}"
        value = self._named(arguments["answer"] if "answer" in arguments else next(iter(arguments.values())))
        text = as_text(value)
        data = {"text/plain": text} | ({"text/markdown": text} if isinstance(value, str) else {})
        given = AnswerGiven(step=self.step, data=data, value=value, has_value=True, type_name=type(value).__name__)
        refusal = await refused(self.agent.final_answer_checks, given, self.run)
        if not refusal:
            await self.emit(given)
        return refusal

    async def _do(self, call: ToolUse, name: str) -> None:
        """One call: its result is kept under a name, shown, and on record."""
        begun = time.monotonic()
        arguments = {key: self._named(value) for key, value in arguments_of(call).items()}
        result: Json = None
        error = None
        tools = self.agent.tools

        async def tell(text: str) -> None:
            await self.emit(ToolProgress(step=self.step, name=call.name, text=text))

        try:
            if call.name not in tools:
                raise ToolCallError(f"No tool {call.name!r}{nearest(call.name, [*tools, FINAL_ANSWER])}")
            if call.arguments.strip() and not call.arguments.lstrip().startswith("{"):
                raise ToolCallError(f"The arguments of {call.name} are no JSON object: {one_line(call.arguments, 80)}")
            result = await tools[call.name].call((), arguments, tell)
            self.results[name] = result
        except ToolCallError as failed:
            error = str(failed)
        seconds = time.monotonic() - begun
        await self.emit(
            ToolCalled(
                step=self.step, name=call.name, args=(), kwargs=arguments, result=result, error=error, seconds=seconds,
                call_id=call.id,
            )
        )  # fmt: skip
        said = f"Error: {error}" if error else as_text(result)
        shown = Stream("stderr" if error else "stdout", f"{name} = {call.name}: {said}\n")
        await self.emit(Output(step=self.step, output=shown))

    @property
    def results(self) -> dict[str, Json]:
        """Results of earlier calls, by the name under which later ones may use them."""
        assert isinstance(self.agent, ToolCallingAgent)
        return self.agent.results

    def _named(self, value: Json) -> Json:
        """The earlier result, or the value of the task, that `value` is the name of; else `value` itself."""
        given = self.agent.sandbox.values if isinstance(self.agent.sandbox, NoSandbox) else {}
        return {**given, **self.results}.get(value, value) if isinstance(value, str) else value


class ToolCallingAgent(CodeAgent):
    """An agent that calls functions instead of writing code; options as for `CodeAgent`."""

    work_class: ClassVar[type[Work]] = ToolCallingWork

    def __init__(self, model: Any = None, **options: Any) -> None:
        options = {"sandbox": NoSandbox(), "guards": (), "reply_format": FunctionCalls(), **options}
        super().__init__(model, **options)
        self.results: dict[str, Json] = {}
        """What earlier calls returned: `result_1`, ... of the last step that had so many calls."""

    async def reset(self) -> None:
        """Begin anew; results of earlier calls are forgotten."""
        self.results.clear()
        await super().reset()
