"""`%agent` and `%%agent` for any IPython notebook.

A run must not block the notebook's loop: then no click could reach the view. So the magics return coroutines, and an
input transformer puts `await` before them; IPython runs such a cell on its loop.
"""

from __future__ import annotations

import atexit
import re
import sys
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from cellwright.errors import UsageError
from cellwright.options import TaskOptions, parse_magic
from cellwright.run import Run

from .answer import Answer, keep_value
from .command_table import NextCell, Text
from .commands import execute
from .completion import place
from .interrupt import stop_on_sigint
from .notebook_cells import last_cells
from .rewinding import cut_off
from .session import Session
from .stdin import ask, can_ask

# As IPython writes it for a magic: at the start of a line, or assigned. What a person awaits already is left alone.
_CALL = re.compile(r"^(\s*(?:[^#=]+=\s*)?)(get_ipython\(\)\.run_(?:cell|line)_magic\('agent')")


def register(shell: Any) -> None:
    """Add the magics to a shell. Doing it twice changes nothing."""
    if "agent" in shell.magics_manager.magics["cell"]:
        return
    magics = AgentMagics(shell)
    shell.register_magic_function(magics.line, "line", "agent")
    shell.register_magic_function(magics.cell, "cell", "agent")
    shell.input_transformers_post.append(awaited)
    shell.events.register("post_run_cell", lambda result: keep_value(shell, result.result))
    if shell.Completer:
        shell.Completer.custom_matchers.append(magics.matches)
    shell.events.register("pre_run_cell", lambda _: magics.session.brought_back.settle())
    atexit.register(magics.session.brought_back.settle)
    magics.session.warm_up()


def awaited(lines: list[str]) -> list[str]:
    """The cell's lines with `await` before every call of the magics."""
    return [_CALL.sub(r"\1await \2", line) for line in lines]


class AgentMagics:
    """The magics of one shell, and its conversation."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        ask = self._ask if hasattr(shell, "kernel") else None
        self.session = Session(shell.config, ask, add_cell=shell.set_next_input, can_type=self._can_type)
        self._inside: frozenset[str] = frozenset()
        """Names of the sandbox's variables after the last task: a completer can't wait for an answer."""

    async def line(self, line: str) -> object:
        """Commands of the conversation; `%agent help` lists them, `%agent WORD --help` says more."""
        with stop_on_sigint(self.session.stop):
            done = await execute(self.session, line)
        if isinstance(done, NextCell):
            self.shell.set_next_input(done.text)
        return done

    async def cell(self, line: str, cell: str) -> object:
        """Do the task below it; `%%agent --help` lists the options."""
        options = parse_magic(line)
        if options.help:
            return Text(options.help)
        values = {name: self._value(name) for name in options.put}
        if options.new:
            self.session.agent.forget()
        before = self.session.last_run
        try:
            with stop_on_sigint(self.session.stop):
                run = await self._do(cell, options, values)
        finally:
            if self.session.last_run is not before:  # one that failed can be looked at, too
                self.shell.user_ns["_run"] = self.session.last_run
            self._inside = frozenset(await self.session.agent.sandbox.names())
        answer = self.shell.user_ns["_run"] = await Answer.of(run, self.session)
        if options.out:  # what can't cross is said now
            value = await self.session.answer_of(run) if answer.value is answer else answer.value
            self.shell.user_ns[options.out] = value
        return answer

    async def _do(self, cell: str, options: TaskOptions, values: dict[str, object]) -> Run:
        session = self.session
        if options.step is not None:
            return await session.branch(options.step, code=cell, flags=options.settings)
        if said := await cut_off(session):
            print(said)
        cells = last_cells(self.shell, options.context)
        task = self._fill_in(cell)
        return await session.do(task, options.settings, values, options.images, notebook=cells, with_answer=False)

    def _value(self, name: str) -> object:
        if name not in self.shell.user_ns:
            raise UsageError(f"--in: there is no variable {name!r} in this notebook.")
        return self.shell.user_ns[name]

    def _fill_in(self, task: str) -> str:
        """`{name}` of the notebook's own plain variables; the session fills in the sandbox's."""
        known = self._plain()
        return re.sub(r"\{([A-Za-z_]\w*)\}", lambda match: known.get(match[1], match[0]), task)

    def _plain(self) -> dict[str, str]:
        return {
            name: str(value)
            for name, value in self.shell.user_ns.items()
            if isinstance(value, str | int | float) and not name.startswith("_")
        }

    @context_matcher(identifier="cellwright")  # type: ignore[untyped-decorator]
    def matches(self, asked: CompletionContext) -> SimpleMatcherResult:
        """What may stand at the cursor, for IPython's completer."""
        lines = asked.full_text.split("\n")
        cursor = sum(len(line) + 1 for line in lines[: asked.cursor_line]) + asked.cursor_position
        found = place(asked.full_text, cursor)
        if found is None:
            return SimpleMatcherResult(completions=[])
        known: set[str] = set()
        if found.variables == "all":
            known = {*self._plain(), *self._inside}
        elif found.variables:
            hidden = self.shell.user_ns_hidden
            known = {name for name in self.shell.user_ns if not name.startswith("_") and name not in hidden}
        completions = [SimpleCompletion(text) for text in found.choices(known)]
        return SimpleMatcherResult(completions=completions, matched_fragment=found.written, suppress=True, ordered=True)

    def _can_type(self) -> bool:
        return can_ask(self.shell.kernel) if hasattr(self.shell, "kernel") else sys.stdout.isatty()

    async def _ask(self, prompt: str, password: bool) -> str:
        if not can_ask(self.shell.kernel):
            raise EOFError
        return await ask(self.shell.kernel, prompt, password)
