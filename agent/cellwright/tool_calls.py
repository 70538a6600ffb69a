"""How a tool is called: on the loop or in a thread, within its time, with its progress told.

A function may be sync or async, and may `yield`: each text that it yields is progress, and its result is what it
returns, or else the last value that it yielded. Sync functions run in a thread of their own. When a call is given up,
an async function is cancelled; a sync one can't be, so its thread is left to itself: it ends at its next `yield`, is
never waited for, and does not keep the program from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal, TypeAlias

from .errors import CellwrightError, ToolCallError, one_line
from .outputs import Json
from .secrets import redacted
from .tool_schema import as_json

Progress: TypeAlias = Callable[[str], Awaitable[None] | None]
"""Called with each line of progress, in order; sync or async."""
PROGRESS_CHARACTERS = 200
"""Longer texts are shown in part."""


class Caller:
    """A tool's function, ready to be called.

    seconds: how long a call may take. set_up: done once, before the first call, and again only when it failed.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        seconds: float | None = None,
        set_up: Callable[[], Any] | None = None,
    ) -> None:
        self._name, self._function, self._seconds = name, function, seconds
        self._set_up = set_up
        self._one_sets_up = asyncio.Lock()

    async def call(self, arguments: inspect.BoundArguments, on_progress: Progress | None = None) -> Json:
        """The result as JSON, without the values of secrets. Raises `ToolCallError`, in one line."""
        name, clock = self._name, asyncio.timeout(self._seconds)
        call = functools.partial(self._function, *arguments.args, **arguments.kwargs)
        try:
            async with clock:
                await self._prepare()
                result = await _run(call, on_progress)
        except _Unheard as unheard:
            raise unheard.error from None
        except CellwrightError as error:
            raise ToolCallError(redacted(f"{name}: {one_line(str(error))}")) from error
        except Exception as error:  # a tool is somebody else's code and may raise anything
            if clock.expired():
                said = f"{name} took longer than the {self._seconds:g} s it may, and was given up."
                raise ToolCallError(said) from None
            said = one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
            raise ToolCallError(redacted(f"{name} failed: {said}")) from error
        return redacted(as_json(name, result))

    async def _prepare(self) -> None:
        async with self._one_sets_up:
            if self._set_up is not None:
                await _run(functools.partial(self._set_up), None)
                self._set_up = None


class _Unheard(Exception):
    """Whoever hears progress failed: not the tool's fault."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def _run(call: functools.partial[Any], on_progress: Progress | None) -> object:
    is_async = any(
        check(function)
        for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        for function in (call.func, getattr(call.func, "__call__", None))  # noqa: B004 - an object with `async __call__`
    )
    result: Any = call() if is_async else await _in_thread(call, on_progress)
    if inspect.isasyncgen(result):
        return await _last(result, on_progress)
    return await result if inspect.isawaitable(result) else result


async def _last(generator: Any, on_progress: Progress | None) -> object:
    value: object = None
    async with aclosing(generator):
        async for value in generator:
            await _tell(on_progress, value)
    return value


async def _tell(on_progress: Progress | None, value: object) -> None:
    if on_progress is None or not isinstance(value, str):
        return
    try:
        heard = on_progress(one_line(redacted(value), PROGRESS_CHARACTERS))
        if heard is not None:
            await heard
    except Exception as error:  # whoever listens is not the tool: what it raises is told apart from the tool's own
        raise _Unheard(error) from error


async def _in_thread(call: Callable[[], object], on_progress: Progress | None) -> object:
    """Run `call`, and the generator it may return, in a thread of its own.

    Not in asyncio's pool: calls that were given up would fill it, and the program would wait for them at its end.
    """
    loop = asyncio.get_running_loop()
    happened: asyncio.Queue[tuple[Literal["progress", "result", "error"], Any]] = asyncio.Queue()
    given_up = threading.Event()

    def post(kind: Literal["progress", "result", "error"], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any longer
            loop.call_soon_threadsafe(happened.put_nowait, (kind, value))

    def work() -> None:
        try:
            result: Any = call()
            if inspect.isgenerator(result):
                result = _exhausted(result, lambda value: post("progress", value), given_up)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a tool is somebody else's code and may raise anything
            post("error", error)
        else:
            post("result", result)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="tool", daemon=True).start()
    try:
        while True:
            kind, value = await happened.get()
            if kind == "result":
                return value
            if kind == "error":
                raise value if isinstance(value, Exception) else RuntimeError(f"{type(value).__name__}: {value}")
            await _tell(on_progress, value)
    finally:
        given_up.set()


def _exhausted(generator: Any, tell: Callable[[object], None], given_up: threading.Event) -> object:
    value: object = None
    with contextlib.closing(generator):
        while not given_up.is_set():
            try:
                value = next(generator)
            except StopIteration as end:
                return value if end.value is None else end.value
            tell(value)
    return value
