"""Code in the sandbox calls a tool of the host: do it, and put it on record."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .errors import ToolCallError, nearest
from .events import InputGiven, ToolCalled, ToolProgress
from .sandbox.base import Call, CallResult, Raised, Returned

if TYPE_CHECKING:
    from .loop import Work


AskLine = Callable[[str, bool], Awaitable[str]]
"""Prompt, and whether to hide what is typed -> the line."""


async def call_tool(work: Work, call: Call) -> CallResult:
    """The tool's result, or the message that is raised where it was called."""
    begun = time.monotonic()
    result: CallResult
    tools = work.agent.tools

    async def tell(text: str) -> None:
        kwargs = dict(call.kwargs)
        await work.emit(ToolProgress(step=work.step, name=call.name, text=text, args=tuple(call.args), kwargs=kwargs))

    await tell("")
    try:
        tool = tools.get(call.name)
        if tool is None:
            raise ToolCallError(f"No tool {call.name!r}{nearest(call.name, tools)}")
        result = Returned(await tool.call(call.args, call.kwargs, tell))
    except ToolCallError as error:
        result = Raised(str(error))
    await work.emit(
        ToolCalled(
            step=work.step,
            name=call.name,
            args=call.args,
            kwargs=call.kwargs,
            result=result.value if isinstance(result, Returned) else None,
            error=result.message if isinstance(result, Raised) else None,
            seconds=time.monotonic() - begun,
        )
    )
    return result


def on_record(work: Work, ask: AskLine | None) -> AskLine | None:
    """`ask`, and what was typed is put on record, unless it was not to be shown."""
    if ask is None:
        return None

    async def asked(prompt: str, hidden: bool) -> str:
        line = await ask(prompt, hidden)
        await work.emit(InputGiven(step=work.step, prompt=prompt, value=None if hidden else line))
        return line

    return asked
