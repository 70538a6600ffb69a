"""The Cellwright kernel: every cell is a task.

An IPython kernel in which an agent takes the place of `do_execute`. What needs Python (completion, inspection, `%%py`)
is asked of the sandbox. Whatever happens, a cell ends with exactly one reply: an exception that left `do_execute` would
hang it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ipykernel.ipkernel import IPythonKernel

from cellwright.errors import CellwrightError, RunInterrupted, UsageError
from cellwright.events import Event, Output
from cellwright.outputs import Failure, Json

from . import cells
from .cells import Cell
from .concurrency import ConcurrentShell

Reply = dict[str, Any]


class AgentKernel(ConcurrentShell, IPythonKernel):  # type: ignore[misc]
    """A Jupyter kernel for tasks in plain language."""

    implementation = "cellwright"
    implementation_version = "0.1.0"
    banner = "Cellwright: write a task in plain language. %agent help lists the commands."
    # Markdown: JupyterLab then highlights headings, lists and fenced Python in prompts.
    language_info = {  # noqa: RUF012 - ipykernel's own form
        "name": "markdown",
        "version": "1",
        "mimetype": "text/x-markdown",
        "file_extension": ".md",
        "codemirror_mode": "markdown",
        "pygments_lexer": "markdown",
        "nbconvert_exporter": "cellwright",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._session: Any = None

    @property
    def agent_session(self) -> Any:
        """The conversation of this notebook; imported late, so that the kernel is ready early."""
        if self._session is None:
            from cellwright_extension.session import Session

            self._session = Session(
                self.shell.config,
                self._ask,
                add_cell=self.shell.set_next_input,
                by_hand="%%py\n",
                can_type=self._can_type,
            )
        return self._session

    def start(self) -> None:
        """Start; what takes seconds begins in the background once the kernel has answered."""
        super().start()
        self.io_loop.call_later(2.0, self._warm_up)

    def _warm_up(self) -> None:
        self.agent_session.warm_up()

    @property
    def supported_features(self) -> list[str]:
        """There is nothing to debug in a prompt."""
        return [feature for feature in super().supported_features if feature != "debugger"]

    def _can_type(self) -> bool:
        from cellwright_extension.stdin import can_ask

        return can_ask(self)

    async def _ask(self, prompt: str, password: bool) -> str:
        from cellwright_extension.stdin import ask, can_ask

        if not can_ask(self):
            raise EOFError
        return await ask(self, prompt, password)

    # ---- execution ------------------------------------------------------------------------------------------------

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Json = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Json = None,
        cell_id: str | None = None,
    ) -> Reply:
        """Do what a cell means; one reply, always."""
        cell = cells.read(code)
        if silent or cell.kind == "empty":
            # Silent code is the front end's own (e.g. a variable inspector's): it belongs to the host's shell.
            return dict(await super().do_execute(code, silent, store_history, user_expressions, allow_stdin))
        self._allow_stdin = allow_stdin
        self.shell.payload_manager.clear_payload()
        if self._session is not None:
            self._session.brought_back.settle()
        count = self.shell.execution_count
        if store_history:
            self.shell.history_manager.store_inputs(count, code, code)
            self.shell.execution_count += 1
        try:
            from cellwright_extension.interrupt import stop_on_sigint

            with stop_on_sigint(self.agent_session.stop):
                payload = [*await self._do(cell, count), *self.shell.payload_manager.read_payload()]
        except CellwrightError as error:
            ename = "KeyboardInterrupt" if isinstance(error, RunInterrupted) else type(error).__name__
            return self._failed(count, ename, str(error), error._render_traceback_())
        except asyncio.CancelledError:
            return self._failed(count, "KeyboardInterrupt", "Stopped.", ["Stopped."])
        except CellFailed as failed:
            failure = failed.failure
            return self._failed(count, failure.ename, failure.evalue, list(failure.traceback), failed.is_shown)
        except Exception as error:  # the kernel's boundary: without a reply the cell would hang for ever
            self.log.exception("a cell failed")
            return self._failed(count, type(error).__name__, str(error), [f"{type(error).__name__}: {error}"])
        return {"status": "ok", "execution_count": count, "payload": payload, "user_expressions": {}}

    async def _do(self, cell: Cell, count: int) -> list[Json]:
        """Do it; the payload of the reply (pager, next input)."""
        if cell.kind == "task":
            await self._do_task(cell, count)
        elif cell.kind == "command":
            return await self._do_command(cell.text, count)
        elif cell.kind == "help":
            return [{"source": "page", "data": {"text/plain": await self._help(cell.text)}, "start": 0}]
        elif cell.kind == "tools":
            self._define_tools(cell.text)
        else:
            return await self._run_by_hand(cell.text, count)
        return []

    async def _do_task(self, cell: Cell, count: int) -> None:
        from cellwright.options import parse_magic
        from cellwright_extension.answer import Answer
        from cellwright_extension.rewinding import cut_off

        options = parse_magic(cell.options)
        session = self.agent_session
        if options.help:
            self._show({"text/plain": options.help}, count)
            return
        if options.put or options.out:
            raise UsageError("--in and --out are for %%agent in a Python notebook; here the sandbox has the variables.")
        if options.context:
            raise UsageError("--context is for %%agent in a Python notebook; here the agent knows the cells before.")
        if options.new:
            session.agent.forget()
        if options.step is not None:
            run = await session.branch(options.step, code=cell.text, flags=options.settings)
        else:
            if said := await cut_off(session):
                print(said)
            run = await session.do(cell.text, options.settings, images=options.images, with_answer=False)
        self._show_answer(await Answer.of(run, session), count)

    async def _do_command(self, line: str, count: int) -> list[Json]:
        from cellwright_extension.answer import Answer
        from cellwright_extension.command_table import NextCell
        from cellwright_extension.commands import as_bundle, execute

        done = await execute(self.agent_session, line)
        data, text = as_bundle(done)
        if isinstance(done, Answer):  # e.g. of `%agent branch`
            self._show_answer(done, count)
        elif text:
            self._show(dict(data), count)
        return [{"source": "set_next_input", "text": done.text, "replace": False}] if isinstance(done, NextCell) else []

    async def _help(self, wanted: str) -> str:
        """Help with `%%agent`, `%agent`, or one of its words."""
        from cellwright.options import parse_magic
        from cellwright_extension.commands import execute

        if wanted.startswith("%%"):
            return parse_magic("--help").help
        return repr(await execute(self.agent_session, f"help {wanted.removeprefix('%agent')}"))

    def _define_tools(self, code: str) -> None:
        """Run the cell in the host and take every tool and every documented function that it defines."""
        from cellwright.tools import Tool, tool

        names = dict(self.shell.user_ns)
        self.shell.user_ns.setdefault("tool", tool)
        result = self.shell.run_cell(code, store_history=False)
        if not result.success:
            error = result.error_before_exec or result.error_in_exec
            raise CellFailed(Failure(type(error).__name__, str(error)), is_shown=True)
        made: dict[str, Tool] = {}
        for name, value in self.shell.user_ns.items():
            is_new = names.get(name) is not value and not name.startswith("_") and value is not tool
            if is_new and isinstance(value, Tool):
                made[value.name] = value
            elif is_new and callable(value) and getattr(value, "__module__", "") == "__main__" and value.__doc__:
                made[name] = Tool(value)
        if not made:
            raise UsageError("This cell defines no tool: write a function with type hints and a docstring.")
        self.agent_session.tools.update(made)
        print(f"The agent can now call {', '.join(sorted(made))}.")

    async def _run_by_hand(self, code: str, count: int) -> list[Json]:
        from cellwright.sandbox.base import Finished

        session = self.agent_session
        run = await session.run_by_hand(code, lambda event: self._relay(event, count))
        if run.status == "interrupted":
            raise RunInterrupted("Stopped. The sandbox keeps its variables.")
        step = run.steps[-1] if run.steps else None
        if step and step.error and step.outcome != "ok":  # code may also show an error and go on
            raise CellFailed(step.error, is_shown=not _is_interrupt(step.error))
        if run.status == "failed" or (step and step.note):
            raise CellFailed(Failure("SandboxDied", step.note if step and step.note else run.reason))
        execution = session.agent.execution
        return [dict(item) for item in execution.payload] if isinstance(execution, Finished) else []

    def _relay(self, event: Event, count: int) -> None:
        """Show what a person's own cell shows."""
        from cellwright.sandbox.comms import ON_PAGE
        from cellwright_extension.publishing import as_message

        # What interrupted code says of it is said once, by the cell's own error.
        if isinstance(event, Output) and not ON_PAGE.get() and not _is_interrupt(event.output):
            self._send(*as_message(event.output, count))

    def _show_answer(self, answer: Any, count: int) -> None:
        """Show it; `_` and `Out[n]` of the host's shell hold it, `_run` the run."""
        from cellwright_extension.executed import executed

        names = self.shell.user_ns
        names["_"] = names["Out"][count] = answer.value
        names["_run"] = answer
        data, metadata = answer._repr_mimebundle_()
        self._show(data, count, {**metadata, **executed(answer)})

    def _show(self, data: Json, count: int, metadata: Json = None) -> None:
        self._send("execute_result", {"data": data, "metadata": metadata or {}, "execution_count": count})

    def _send(self, kind: str, content: Reply) -> None:
        # What was printed waits up to 0.2 s in ipykernel's stream; the order would be lost.
        sys.stdout.flush()
        sys.stderr.flush()
        self.send_response(self.iopub_socket, kind, content)

    def _failed(self, count: int, ename: str, evalue: str, traceback: list[str], is_shown: bool = False) -> Reply:
        error = {"ename": ename, "evalue": evalue, "traceback": traceback or [f"{ename}: {evalue}"]}
        if not is_shown:
            self._send("error", error)  # a reply alone shows nothing
        return {"status": "error", "execution_count": count, **error, "payload": [], "user_expressions": {}}

    # ---- interrupt, completion, shutdown --------------------------------------------------------------------------

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Stop the run under way; idle, or while the host runs code of its own, as any kernel does."""
        if self._session is not None and self._session.is_working:
            self._session.stop()
            self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)
        else:
            await super().interrupt_request(stream, ident, parent)

    async def do_complete(self, code: str, cursor_pos: int | None) -> Reply:
        """What `%agent`, `%%agent` and braces in a task take; else names of the sandbox."""
        cursor = len(code) if cursor_pos is None else cursor_pos
        try:
            return await self._complete(code, cursor)
        except CellwrightError:  # e.g. a sandbox that can't start: the next task says so, and a reply must come
            return _completed(cursor, cursor, [])

    async def _complete(self, code: str, cursor: int) -> Reply:
        from cellwright_extension.completion import place

        found = place(code, cursor, is_task=cells.read(code).kind == "task")
        if found:
            known = await self.agent_session.agent.sandbox.names() if found.variables else ()
            return _completed(found.start, cursor, found.choices(known))
        heads = [head for head in cells.HEADS if head.startswith(code[:cursor] or " ")]
        code, shift = _body(code)
        if cursor < shift:
            return _completed(0, cursor, heads)
        await self._start_sandbox()
        reply = await self.agent_session.agent.sandbox.complete(code, cursor - shift)
        matches = reply.get("matches", [])
        if heads:  # the sandbox has magics of its own that begin so; both replace the percent signs, too
            return _completed(0, cursor, [*heads, *(name for name in matches if name.startswith("%"))])
        start, end = (int(reply[key]) + shift for key in ("cursor_start", "cursor_end")) if reply else (cursor, cursor)
        return _completed(start, end, matches)

    async def do_inspect(self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Json = ()) -> Reply:
        """What the sandbox knows of the name at the cursor."""
        code, shift = _body(code)
        reply: Mapping[str, Json] = {}
        with suppress(CellwrightError):  # as above
            await self._start_sandbox()
            reply = await self.agent_session.agent.sandbox.inspect(code, max(0, cursor_pos - shift), detail_level)
        return dict(reply) or {"status": "ok", "found": False, "data": {}, "metadata": {}}

    async def _start_sandbox(self) -> None:
        session = self.agent_session
        if not session.is_working and not session.agent.sandbox.is_running:
            await session.agent.sandbox.start()

    def do_is_complete(self, code: str) -> Reply:
        """A console asks: a task is complete unless its last line ends in a backslash."""
        if code.lstrip().startswith("%%") and not code.endswith("\n"):
            return {"status": "incomplete", "indent": ""}
        if code.rstrip(" ").endswith("\\"):
            return {"status": "incomplete", "indent": ""}
        return {"status": "complete"}

    async def do_shutdown(self, restart: bool) -> Reply:
        """End the sandbox too. Runs in the control thread, so the sandbox's loop is asked."""
        if self._session is not None:
            ended = asyncio.run_coroutine_threadsafe(self._session.aclose(), self.io_loop.asyncio_loop)
            try:
                await asyncio.wait_for(asyncio.wrap_future(ended), 4)
            except TimeoutError:
                self.log.warning("the sandbox did not end in time")
        return dict(super().do_shutdown(restart))


class CellFailed(Exception):
    """Code that a person ran raised; shown as the cell's error."""

    def __init__(self, failure: Failure, is_shown: bool = False) -> None:
        super().__init__(failure.evalue)
        self.failure = failure
        self.is_shown = is_shown


def _is_interrupt(output: object) -> bool:
    return isinstance(output, Failure) and output.ename == "KeyboardInterrupt"


def _completed(start: int, end: int, matches: list[str]) -> Reply:
    return {"matches": matches, "cursor_start": start, "cursor_end": end, "metadata": {}, "status": "ok"}


def _body(code: str) -> tuple[str, int]:
    """The code below, or beside, `%%py`, and how many characters were cut off."""
    head = re.match(r"(%%py|%%tool)([ \t]*\n|[ \t]+)", code)
    return (code[head.end() :], head.end()) if head else (code, 0)
