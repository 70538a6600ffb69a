"""Who decides whether an action runs: nobody (`auto`), a person for what is risky (`ask-risky`), or always (`ask`).

The loop asks `decide` before it runs anything. Guards come first; then the agent's own approver, or that of the agent
which called it: an agent that is called like a tool is not a way around the person. `Approval` is the approver that
notebook and command line use. It knows the mode, what the person allowed for the rest of the session, and the least
that an administrator wants asked; where nobody can be asked, its mode decides, and says so. The time that a person
takes to decide does not count against the limits of the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from .errors import UsageError
from .events import ActionDecided
from .risks import Risk, risks
from .sandbox.none import NoSandbox

if TYPE_CHECKING:
    from .loop import Work

Mode = Literal["auto", "ask-risky", "ask"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""From the least asked to the most."""
NOBODY = "Nobody can be asked here."


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an action runs."""

    verdict: Literal["approved", "edited", "denied"]
    code: str
    """What will run: the proposal, or the person's edit."""
    by: str
    """`person`, or the name of the policy or guard."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked."""

    run_id: str
    step: int
    code: str
    reasons: Sequence[Risk]
    can_edit: bool = True
    """False where the action is function calls, which are no code that could be changed."""
    can_allow: bool = True
    """Whether the person may allow those that follow, too."""
    agent: str = ""
    """Name of the agent, where it was called by another."""

    @property
    def why(self) -> str:
        """The reasons in one line; empty when there are none."""
        return "; ".join(map(str, self.reasons))

    @property
    def can_allow_alike(self) -> bool:
        """Whether those with the same reasons may be allowed; what can't be judged is like nothing."""
        return self.can_allow and all(risk.kind != "unclear" for risk in self.reasons)


@dataclass(frozen=True, slots=True)
class Said:
    """What the person said."""

    what: Literal["run", "all", "alike", "edit", "deny"]
    text: str = ""
    """The edited code, or a word to the model."""


Approver: TypeAlias = "Callable[[str, Sequence[Risk], Work], Awaitable[Decision]]"
"""(code, reasons to ask, the work) -> the decision; cancelled when the run is stopped meanwhile."""
AskPerson: TypeAlias = Callable[[Question], Awaitable[Said]]
"""Raises `EOFError` where nobody answers."""


async def decide(work: Work, code: str) -> ActionDecided:
    """Whether `code` runs: what the guards say, then the approver. Its reason is what a denied model is told."""
    for guard in work.agent.guards:
        if reason := guard(code, work.run.task, work.at_hand):
            by = getattr(guard, "__name__", type(guard).__name__)
            return ActionDecided(step=work.step, verdict="denied", by=by, code=code, reason=reason)
    approver = next((one.agent.approve for one in _callers(work) if one.agent.approve), None)
    if approver is None:
        return ActionDecided(step=work.step, verdict="approved", by="auto", code=code)
    begun = time.monotonic()
    try:
        decision = await approver(code, risks_of(work, code), work)
    finally:
        for one in _callers(work):
            one.meter.started += time.monotonic() - begun
    verdict, ran = decision.verdict, decision.code if decision.verdict == "edited" else code
    if verdict == "edited" and not _can_edit(work):
        raise UsageError("Function calls can't be edited; run them, or deny them and say why.")
    return ActionDecided(step=work.step, verdict=verdict, by=decision.by, code=ran, reason=decision.reason)


def _callers(work: Work | None) -> Iterator[Work]:
    """The work, the one that called it, and so on."""
    while work:
        yield work
        work = work.caller


def _can_edit(work: Work) -> bool:
    return not isinstance(work.agent.sandbox, NoSandbox)


def risks_of(work: Work, code: str) -> tuple[Risk, ...]:
    """What is risky about `code` in the sandbox of this work."""
    facts = work.run.started.sandbox if work.run.started else None
    tools = [name for name, tool in work.agent.tools.items() if tool.risky]
    folder = getattr(work.agent.sandbox, "workspace", None)
    workspace = str(folder) if isinstance(folder, Path) and folder.is_absolute() else ""
    # Function calls reach no sandbox: their tools are on this machine, network and all.
    has_network = facts is None or facts.network != "none" or not _can_edit(work)
    return risks(code, tools=tools, network=has_network, workspace=workspace)


def must_ask(mode: Mode, reasons: Sequence[Risk]) -> bool:
    """Whether a person must be asked under `mode`."""
    return mode == "ask" or (mode == "ask-risky" and bool(reasons))


def stricter(first: Mode, second: Mode) -> Mode:
    """The one of the two that asks more."""
    return max(first, second, key=MODES.index)


class Approval:
    """Asks the person as the mode says, and remembers what was allowed for the session.

    ask: None where nobody can be asked; the mode decides then. least: what an administrator wants asked; nothing that
    the person allows goes beneath it.
    """

    def __init__(self, mode: Mode = "ask", ask: AskPerson | None = None, *, least: Mode = "auto") -> None:
        self.ask = ask
        self._mode = mode
        self._least = least
        self._allows_all = False
        self._alike: set[frozenset[Risk]] = set()
        self._turn = asyncio.Lock()

    @property
    def mode(self) -> Mode:
        """What holds now."""
        return stricter(self._mode, self._least)

    def set(self, mode: Mode, least: Mode = "auto") -> None:
        """Have another mode; what was allowed before is forgotten when it changes."""
        if (mode, least) != (self._mode, self._least):
            self.forget()
        self._mode, self._least = mode, least

    def forget(self) -> None:
        """Ask again for what the person had allowed for the rest of the session."""
        self._allows_all = False
        self._alike.clear()

    async def __call__(self, code: str, reasons: Sequence[Risk], work: Work) -> Decision:
        """The decision; it waits for the person, one question at a time."""
        if not must_ask(self.mode, reasons):
            return Decision("approved", code, self.mode)
        async with self._turn:
            return self._allowed(code, reasons) or await self._asked(code, reasons, work)

    def _allowed(self, code: str, reasons: Sequence[Risk]) -> Decision | None:
        if must_ask(self._least, reasons):
            return None
        if self._allows_all:
            return Decision("approved", code, "person", "All that follow may run.")
        if frozenset(reasons) in self._alike:
            return Decision("approved", code, "person", "All that look like this may run.")
        return None

    async def _asked(self, code: str, reasons: Sequence[Risk], work: Work) -> Decision:
        question = Question(
            work.run_id,
            work.step,
            code,
            reasons,
            can_edit=_can_edit(work),
            can_allow=not must_ask(self._least, reasons),
            agent=work.agent.name if work.caller else "",
        )
        if self.ask is None:
            return self._by_policy(question)
        try:
            return self._as_said(question, await self.ask(question))
        except EOFError:
            return self._by_policy(question)

    def _by_policy(self, question: Question) -> Decision:
        why = f"this needs a person's approval ({question.why})" if question.why else "actions need a person's approval"
        reason = f"Not run: {why}. {NOBODY} The mode is {self.mode}."
        return Decision("denied", question.code, self.mode, reason)

    def _as_said(self, question: Question, said: Said) -> Decision:
        code = question.code
        match said.what:
            case "deny":
                word = said.text.strip()
                return Decision("denied", code, "person", f"Not run: the user said no{f': {word}' if word else '.'}")
            case "edit" if not said.text.strip():
                return Decision("denied", code, "person", "Not run: the user took the code away.")
            case "edit" if question.can_edit and said.text != code:
                return Decision("edited", said.text, "person")
            case "all" if question.can_allow:
                self._allows_all = True
                return Decision("approved", code, "person", "All that follow may run, too.")
            case "alike" if question.can_allow_alike:
                self._alike.add(frozenset(question.reasons))
                return Decision("approved", code, "person", "All that look like this may run, too.")
        return Decision("approved", code, "person")
