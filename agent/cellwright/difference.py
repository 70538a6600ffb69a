"""Two runs of the same task, side by side: in which step they went apart, and what each cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from itertools import zip_longest

from .console import price
from .errors import one_line
from .run import Run, Step

LINE_CHARACTERS = 300
Fact = tuple[str, str, str]
"""What it is, and how it is in the one run and in the other."""


@dataclass(frozen=True, slots=True)
class StepDifference:
    """A step of each run, by its place."""

    number: int
    facts: Sequence[Fact]
    """What differs, tokens and cost among them."""
    code: str
    """What differs in the code, as a unified diff; empty where nothing does."""

    @property
    def is_alike(self) -> bool:
        """Same thought, code and outcome; what it cost may differ."""
        return not self.code and all(name in ("tokens", "cost") for name, _, _ in self.facts)


@dataclass(frozen=True, slots=True)
class Difference:
    """How two runs differ."""

    names: tuple[str, str]
    """Ids of the runs."""
    same_task: bool
    facts: Sequence[Fact]
    """Of the runs as a whole, also what is the same."""
    steps: Sequence[StepDifference]

    @property
    def same_steps(self) -> int:
        """So many steps at the beginning are alike."""
        return next((at for at, step in enumerate(self.steps) if not step.is_alike), len(self.steps))


def difference(one: Run, other: Run) -> Difference:
    """Compare two runs step by step."""
    names = one.id, other.id
    pairs = zip_longest(one.steps, other.steps)
    steps = [_step(number, names, *pair) for number, pair in enumerate(pairs, 1)]
    facts = list(zip(_HEADINGS, _facts(one), _facts(other), strict=True))
    return Difference(names, one.task == other.task, facts, steps)


_HEADINGS = ("task", "model", "status", "steps", "tokens", "cost", "seconds", "answer")


def _facts(run: Run) -> tuple[str, ...]:
    totals = run.totals
    model = run.started.model if run.started else ""
    status = run.status + (f": {one_line(run.reason, LINE_CHARACTERS)}" if run.reason else "")
    answer = "none" if run.answered is None else one_line(str(run.answer), LINE_CHARACTERS)
    return (
        one_line(run.task, LINE_CHARACTERS),
        model or "by hand",
        status,
        str(totals.steps),
        f"{totals.usage.total:,}",
        price(totals.cost, totals.cost_known),
        f"{totals.seconds:.1f}",
        answer,
    )


def _step(number: int, names: tuple[str, str], one: Step | None, other: Step | None) -> StepDifference:
    told = {
        "step": ("there" if one else "none", "there" if other else "none"),
        "thought": (_thought(one), _thought(other)),
        "outcome": (_outcome(one), _outcome(other)),
        "tokens": (_tokens(one), _tokens(other)),
        "cost": (_cost(one), _cost(other)),
    }
    facts = [(name, then, now) for name, (then, now) in told.items() if then != now]
    then, now = ((step.code if step else "").splitlines() for step in (one, other))
    return StepDifference(number, facts, "\n".join(unified_diff(then, now, *names, lineterm="")))


def _thought(step: Step | None) -> str:
    if step is None:
        return ""
    text = step.thought or (step.reply.text if step.reply and not step.code else "")
    return one_line(text, LINE_CHARACTERS)


def _outcome(step: Step | None) -> str:
    if step is None:
        return ""
    error = f": {step.error.ename}: {one_line(step.error.evalue, LINE_CHARACTERS)}" if step.error else ""
    return (step.outcome or ("no code" if step.finished else "not ended")) + error


def _tokens(step: Step | None) -> str:
    return f"{step.reply.usage.total:,}" if step and step.reply else ""


def _cost(step: Step | None) -> str:
    return price(step.reply.cost or 0.0, step.reply.cost is not None) if step and step.reply else ""
