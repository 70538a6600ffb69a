"""A run as a terminal shows it: every step as it happens, then the answer and what it cost.

`ConsoleView.take` is told one event after another, live or from the journal. In a terminal the reply is shown while it
is written; in a file or a pipe there are no colours, no spinner and no line breaks of ours. What models and code write
may hold escape sequences; they are dropped, so that nothing can move the cursor or hide a line.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape as literal
from rich.spinner import Spinner
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from .errors import one_line
from .events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Compacted,
    Event,
    Nested,
    NoAction,
    Output,
    Planned,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunStarted,
    ToolCalled,
    ToolProgress,
)
from .facts import Totals
from .outputs import CellOutput, Clear, Display, Failure, MimeBundle, Stream

if TYPE_CHECKING:
    from .facts import SandboxFacts

LIVE_LINES = 12
"""Lines of a reply that are shown while it is written."""
OUTPUT_CHARACTERS = 4_000
"""Of one output; the journal and the audit notebook have all."""

__all__ = ["ConsoleView", "literal", "new_table", "price", "printable", "stdout_console", "totals_line"]

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)?", re.DOTALL)
# Control characters, and those that turn the reading direction: both can make code look like other code.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` without escape sequences; of a line that was redrawn (a progress bar) the last state stays."""
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(_HIDDEN.sub("\N{REPLACEMENT CHARACTER}", line.rstrip("\r").rpartition("\r")[2]) for line in lines)


class ConsoleView:
    """Shows events on a rich console."""

    def __init__(self, console: Console, *, with_task: bool = False) -> None:
        self.console = console
        self._with_task = with_task
        self._live: Live | None = None
        self._reply = ""
        self._code = ""
        self._open_line = False
        self._at_work: dict[str, str] = {}
        self._called: dict[str, str] = {}

    def take(self, event: Event) -> None:  # noqa: PLR0912  (one branch for each kind of event)
        """Show the event."""
        if isinstance(event, ReplyDelta):
            self._reply += event.text
            self._think(self._reply)
            return
        if isinstance(event, ToolProgress):
            if event.text:
                self._progress(event)
            return
        if isinstance(event, Nested):
            self._nested(event, ())
            return
        self.close()
        match event:
            case RunStarted():
                self._begin(event)
            case ReplyReceived():
                self._heading(event)
            case Planned():
                self._note(f"\nPlan\n{event.text.strip()}", "cyan")
            case Compacted():
                self._note(f"{event.characters:,} characters of old observations were shortened for the model.", "dim")
            case ActionProposed():
                self._action(event)
            case ActionDecided() if event.verdict != "approved":
                self._decided(event)
            case ToolCalled():
                self._at_work.pop(event.name, None)
                self._note(f"{event.name}(...) {event.error or f'{event.seconds:.1f} s'}", "dim")
            case Output():
                self._output(event.output)
            case ActionFinished() | NoAction():
                self._finished(event)
            case AnswerGiven():
                self._answer(event)
            case RunEnded():
                self._end(event)

    def wait(self, what: str) -> None:
        """Show in a terminal that something is under way; what comes next takes its place."""
        self._think(what)

    def close(self) -> None:
        """End what is shown live."""
        self._reply = ""
        if self._live:
            self._live.stop()
            self._live = None

    # ---- parts --------------------------------------------------------------------------------------------------

    def _think(self, text: str) -> None:
        if not self.console.is_terminal:
            return
        tail = "\n".join(printable(text).splitlines()[-LIVE_LINES:])
        shown = Group(Spinner("dots", Text(tail, style="dim")))
        if self._live is None:
            self._live = Live(shown, console=self.console, transient=True, refresh_per_second=10)
            self._live.start()
        else:
            self._live.update(shown)

    def _begin(self, event: RunStarted) -> None:
        if self._with_task:
            self._print(Text(printable(event.task), style="bold"))
        where = f", {_where(event.sandbox)}" if event.sandbox else ""
        who = event.model or "by hand"
        self._note(f"{who}{where}, run {event.run_id}", "dim")
        if not self._with_task:
            self.wait("thinking")

    def _heading(self, event: ReplyReceived) -> None:
        spent = f"{event.usage.total:,} tokens, {event.seconds:.1f} s"
        self._print(Text.assemble((f"\nStep {event.step}", "bold cyan"), ("  " + spent, "dim")))

    def _action(self, event: ActionProposed) -> None:
        if event.thought:
            self._print(Text(printable(event.thought)))
        self._show_code(event.code)

    def _progress(self, event: ToolProgress) -> None:
        """In a terminal the last word of each tool at work, in place; else a line for each."""
        if self.console.is_terminal:
            self._end_line()
            self._at_work[event.name] = event.text
            self._think("\n".join(f"{name}: {text}" for name, text in self._at_work.items()))
        else:
            self._note(f"  {event.name}: {event.text}", "dim")

    def _nested(self, event: Nested, callers: tuple[str, ...]) -> None:
        """What an agent that was called does, in few lines; `callers` are those between it and the run shown."""
        names = (*callers, self._name_of(event))
        inner, who = event.event, "  " + " > ".join(names)
        match inner:
            case Nested():
                self._nested(inner, names)
            case RunStarted():
                self._aside(f"{who}: {one_line(inner.task, 100)}", "dim")
            case ActionProposed():
                self._aside(f"{who}, step {inner.step}: {one_line(inner.thought or inner.code, 100)}", "dim")
            case Output(output=Failure() as failure):
                self._aside(f"{who}, step {inner.step}: {failure.ename}: {one_line(failure.evalue, 100)}", "red")
            case RunEnded():
                reason = f" ({one_line(inner.reason, 100)})" if inner.reason else ""
                self._aside(f"{who}: {inner.status.replace('_', ' ')}{reason}, {totals_line(inner.totals)}", "dim")

    def _aside(self, text: str, style: str) -> None:
        self.close()
        self._note(text, style)

    def _name_of(self, event: Nested) -> str:
        """The agent's name; calls of the same agent are numbered from the second on."""
        if event.run_id not in self._called:
            before = sum(name.partition(" #")[0] == event.agent for name in self._called.values())
            self._called[event.run_id] = event.agent + (f" #{before + 1}" if before else "")
        return self._called[event.run_id]

    def _decided(self, event: ActionDecided) -> None:
        self._note(f"{event.verdict} by {event.by}. {event.reason}".rstrip(), "yellow")
        if event.verdict == "edited":
            self._show_code(event.code)

    def _show_code(self, code: str) -> None:
        self._code = code
        highlighted = Syntax("", "python", theme="ansi_dark").highlight(printable(code))
        for line in highlighted.split("\n"):
            self._print(Text.assemble(("  │ ", "cyan"), line))

    def _output(self, output: CellOutput) -> None:
        match output:
            case Stream():
                text = printable(_clipped(output.text))
                self.console.print(Text(text), end="", soft_wrap=True)
                self._open_line = not text.endswith("\n")
            case Display():
                self._print(Text(printable(_clipped(_in_words(output.data)))))
            case Failure():
                self._print(Text(printable(f"{output.ename}: {_clipped(output.evalue)}"), style="red"))
                lines = self._code.splitlines()
                if output.line and 0 < output.line <= len(lines):
                    self._note(f"line {output.line}: {printable(lines[output.line - 1]).strip()}", "red")
            case Clear():
                pass

    def _finished(self, event: ActionFinished | NoAction) -> None:
        self._at_work.clear()
        if isinstance(event, NoAction):
            self._note(event.note, "yellow")
        elif event.note or event.outcome not in ("ok", "error"):
            self._note(f"{event.outcome} after {event.seconds:.1f} s. {event.note}".rstrip(), "yellow")

    def _answer(self, event: AnswerGiven) -> None:
        word = "Answer" if event.confirmed else "Answer (not confirmed by code)"
        text = printable(_in_words(event.data))
        gap = "\n" if "\n" in text else " "
        self._print(Text.assemble((f"\n{word}:", "bold green"), gap, text))

    def _end(self, event: RunEnded) -> None:
        if event.status != "success":
            self._print(Text(f"\n{event.status.replace('_', ' ')}: {printable(event.reason)}", style="bold red"))
        self._note(totals_line(event.totals), "dim")

    def _note(self, text: str, style: str) -> None:
        self._print(Text(printable(text), style=style))

    def _end_line(self) -> None:
        if self._open_line:
            self.console.print()
            self._open_line = False

    def _print(self, text: Text) -> None:
        self._end_line()
        # soft_wrap: a line that is copied from the terminal must be the line that was written.
        self.console.print(text, soft_wrap=True)


def totals_line(totals: Totals) -> str:
    """`2 steps, 1,204 tokens, $0.0031, 8.2 s`."""
    steps = f"{totals.steps} step{'' if totals.steps == 1 else 's'}"
    return f"{steps}, {totals.usage.total:,} tokens, {price(totals.cost, totals.cost_known)}, {totals.seconds:.1f} s"


def price(cost: float, is_known: bool) -> str:
    """US dollars as a person reads them."""
    if not is_known:
        return f"more than ${cost:.4f}" if cost else "price unknown"
    return f"${cost:.4f}" if cost else "free"


def _where(facts: SandboxFacts) -> str:
    fence = "NOT ISOLATED" if facts.isolation == "process" else f"isolated by {facts.isolation}"
    return f"Python {facts.python} in {facts.workspace} ({fence}, network {facts.network})"


def _in_words(data: MimeBundle) -> str:
    """The bundle's text, and which pictures are in it."""
    pictures = [f"[{mime}]" for mime in data if mime.startswith("image/")]
    return " ".join(filter(None, [str(data.get("text/plain", "")), *pictures]))


def _clipped(text: str) -> str:
    if len(text) <= OUTPUT_CHARACTERS:
        return text
    half = OUTPUT_CHARACTERS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters are not shown here ...\n{text[-half:]}"


# ---- consoles and tables --------------------------------------------------------------------------------------------


def stdout_console() -> Console:
    """A console on stdout. A pipe has no width: cutting lines there would lose what somebody searches for."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=1000)


def new_table(*columns: str) -> Table:
    """A plain table whose cells are folded, never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
