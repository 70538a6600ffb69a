"""`python`: code for an agent that calls tools, run in a sandbox that keeps its state between calls."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from ..events import ActionDecided, ActionFinished
from ..observations import ending, error_text
from ..outputs import CellOutput, plain_text, show
from ..run import Step
from ..sandbox.base import Call, Callbacks, CallResult, Execution, Failed, Finished, Raised, Sandbox
from ..tools import Tool

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class PythonInterpreterTool(Tool):
    """Runs Python in `sandbox` and returns what a notebook cell would show, as text.

    seconds: how long one call may run; then the code is stopped, and its variables stay where that is possible.
    on_output, on_call, on_input: where outputs, calls of the host's tools, and `input()` go; see `Callbacks`.
    """

    name = "python"

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        seconds: float | None = 120.0,
        on_output: Callable[[CellOutput], Awaitable[None]] | None = None,
        on_call: Callable[[Call], Awaitable[CallResult]] | None = None,
        on_input: Callable[[str, bool], Awaitable[str]] | None = None,
    ) -> None:
        self.sandbox = sandbox
        self._seconds = seconds  # the sandbox stops the code: a tool that is given up would leave it running
        self._on_output, self._on_call, self._on_input = on_output, on_call or _no_tools, on_input
        self._one_at_a_time = asyncio.Lock()
        super().__init__()

    async def forward(self, code: str) -> str:
        """Run Python code, as a cell of a notebook, and return what it shows. Variables are kept for the next call.

        Args:
            code: Python source. What is printed, the value of the last line, and errors are returned.
        """
        shown: list[CellOutput] = []

        async def on_output(output: CellOutput) -> None:
            show(shown, output)
            if self._on_output is not None:
                await self._on_output(output)

        async with self._one_at_a_time:
            callbacks = Callbacks(on_output, self._on_call, self._on_input)
            execution = await self.sandbox.run(code, callbacks, self._seconds)
        return _text(code, shown, execution)


async def _no_tools(call: Call) -> CallResult:
    return Raised(f"{call.name} can't be called from here.")


def _text(code: str, shown: list[CellOutput], execution: Execution) -> str:
    """What the model is told: outputs, the error in one line, what became of the sandbox."""
    outcome, note, _ = ending(execution)
    step = Step(
        1,
        decided=ActionDecided(step=1, verdict="approved", by="auto", code=code),
        outputs=shown,
        finished=ActionFinished(step=1, outcome=outcome, seconds=execution.seconds, note=note),
    )
    parts = [plain_text(output) for output in shown if output is not step.error]
    answer = execution.answer if isinstance(execution, Finished | Failed) else None
    said = f"final_answer was called with {answer.data.get('text/plain', '')}" if answer else ""
    return _COLOURS.sub("", "\n".join(filter(None, [*parts, error_text(step), note, said]))) or "(no output)"
