"""Totals with 95% confidence intervals.

The share that was solved gets Wilson's interval, which holds for few runs and for shares near 0 and 1, too. Means and
ratios of means get a percentile bootstrap over tasks: tasks differ far more than repeats of one task do, so tasks are
what is drawn again. Drawn with a fixed seed: the same results give the same figures.

Two agents are compared on the tasks that both solved (`paired`), or else the one that gives up on hard tasks early
would look quick.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TypeVar

from .results import Result

CONFIDENCE = 0.95
DRAWS = 4000
"""Of the bootstrap."""
SEED = 20
MEASURES: Mapping[str, Callable[[Result], float]] = {
    "steps": lambda result: result.steps,
    "tokens": lambda result: result.tokens,
    "seconds": lambda result: result.seconds,
}
"""What is averaged."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the interval that it lies in with 95% confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Total:
    """All runs of one kind of agent with one model."""

    agent: str
    model: str
    runs: int
    solved: int
    success: Estimate
    """Share that was solved, from 0 to 1."""
    means: Mapping[str, Estimate]
    """Steps, tokens and seconds of a run, solved or not."""
    cost: float | None
    """US dollars together; None when a price is unknown."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Two kinds of agent with one model, on the tasks that both solved."""

    first: str
    second: str
    model: str
    tasks: int
    """That both solved."""
    ratios: Mapping[str, Estimate]
    """Steps, tokens and seconds of the first as a part of the second's; 0.7 says 30% fewer."""


def totals(results: Sequence[Result]) -> list[Total]:
    """One total for each agent and model, in the order in which they first occur."""
    found = []
    for agent, model in dict.fromkeys((result.agent, result.model) for result in results):
        own = [result for result in results if (result.agent, result.model) == (agent, model)]
        solved = sum(result.success for result in own)
        costs = [result.cost for result in own]
        known = [cost for cost in costs if cost is not None]
        found.append(
            Total(
                agent, model, len(own), solved, wilson(solved, len(own)),
                {name: mean([list(map(measure, runs)) for runs in _by_task(own).values()])
                 for name, measure in MEASURES.items()},
                sum(known) if len(known) == len(costs) else None,
            )
        )  # fmt: skip
    return found


def paired(results: Sequence[Result], first: str, second: str, model: str) -> Paired:
    """`first` against `second` on the tasks that both solved; without such a task there are no ratios."""
    solved = [result for result in results if result.success and result.model == model]
    ours = _by_task([result for result in solved if result.agent == first])
    theirs = _by_task([result for result in solved if result.agent == second])
    both = [task for task in ours if task in theirs]
    ratios = {}
    for name, measure in MEASURES.items():
        pairs = [(fmean(map(measure, ours[task])), fmean(map(measure, theirs[task]))) for task in both]
        if pairs and all(pair[1] > 0 for pair in pairs):
            ratios[name] = ratio(pairs)
    return Paired(first, second, model, len(both), ratios)


def wilson(solved: int, runs: int) -> Estimate:
    """A share with Wilson's score interval (E. B. Wilson, 1927)."""
    if runs == 0:
        return Estimate(0.0, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = solved / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * (share * (1 - share) / runs + z * z / (4 * runs * runs)) ** 0.5
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def mean(tasks: Sequence[Sequence[float]]) -> Estimate:
    """The mean of the tasks' means, each over its repeats."""
    means = [fmean(runs) for runs in tasks]
    return _bootstrap(means, fmean)


def ratio(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """The sum of the firsts as a part of the sum of the seconds."""
    return _bootstrap(pairs, lambda drawn: sum(a for a, _ in drawn) / sum(b for _, b in drawn))


T = TypeVar("T")


def _bootstrap(tasks: Sequence[T], figure: Callable[[Sequence[T]], float]) -> Estimate:
    drawn = random.Random(SEED)
    values = sorted(figure(drawn.choices(tasks, k=len(tasks))) for _ in range(DRAWS))
    tail = round(DRAWS * (1 - CONFIDENCE) / 2)
    return Estimate(figure(tasks), values[tail], values[-tail - 1])


def _by_task(results: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.task, []).append(result)
    return found
