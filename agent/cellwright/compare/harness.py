"""The runs of a comparison, one after another, each with a sandbox of its own.

Agents and models take turns on a task, so that a machine that gets busy slows all of them. A run whose model could not
be reached says nothing of the agent: it ends the comparison with one line, and the next start goes on with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..agent import CodeAgent
from ..errors import RunFailed, RunInterrupted, UsageError, nearest, one_line
from ..journal import Journal
from ..limits import Limits
from ..models.base import Model
from ..outputs import Json
from ..run import Run
from ..sandbox.base import Sandbox
from ..sandbox.none import NoSandbox
from ..tool_calling import ToolCallingAgent
from ..tools import Tool
from .cases import Case, Cases, is_right, named
from .results import Result, ResultFile
from .worlds import toolbox

AGENTS: Mapping[str, type[CodeAgent]] = {"code": CodeAgent, "tools": ToolCallingAgent}
"""Kind of agent -> its class: the first writes Python, the second calls functions."""
RESULTS = "results.jsonl"
ANSWER_CHARACTERS = 200
"""Longer answers are on record in part; the journal has all."""


def _child_kernel() -> Sandbox:
    from ..sandbox.child import ChildKernel

    return ChildKernel()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared: every task with every kind of agent and every model, `repeat` times.

    Raises `UsageError` for an unknown agent or function, and for a task that an agent can't be given.
    """

    cases: Cases
    agents: Sequence[str]
    """Names of `AGENTS`."""
    models: Mapping[str, Model]
    """Models by the name under which their results stand."""
    out: Path
    """The folder in which results are kept."""
    repeat: int = 1
    limit: int | None = None
    """Only so many tasks, the first ones; None takes all."""
    limits: Limits = field(default_factory=Limits)
    """Of each run."""
    tools: Sequence[str] = ()
    """Functions for tasks that name none."""
    journal: Journal | None = None
    """Where runs are kept; None for nowhere."""
    sandbox: Callable[[], Sandbox] = _child_kernel
    """Makes the sandbox of a run of an agent that writes code."""
    instructions: str = ""
    toolbox: Mapping[str, Tool] = field(default_factory=toolbox)
    """Functions that tasks may name."""

    def __post_init__(self) -> None:
        for kind in self.agents:
            if kind not in AGENTS:
                raise UsageError(f"Unknown agent {kind!r}{nearest(kind, AGENTS)} There are: {', '.join(AGENTS)}.")
        for what, given in (("agent", self.agents), ("model", list(self.models))):
            if not given or len(set(given)) < len(given):
                raise UsageError(f"Name one {what} or more, each once.")
        for name in sorted(named(self.cases.cases) | set(self.tools)):
            if name not in self.toolbox:
                raise UsageError(f"Unknown function {name!r}{nearest(name, self.toolbox)}")
        if "tools" in self.agents:
            for case in self.cases.cases:
                if case.plot or case.prepare:
                    raise UsageError(f"Task {case.id!r} needs an agent that runs code: compare it without `tools`.")

    async def run(self) -> AsyncGenerator[Result]:
        """Do what is not done yet, and yield each result when it is on the disk.

        Raises `UsageError` for a folder with results of other settings, `RunFailed` when a model can't be reached,
        `RunInterrupted` when a run was stopped.
        """
        with ResultFile(self.out / RESULTS, self.settings) as file:
            done = {result.key for result in file.results}
            for case, kind, name, repeat in self._planned():
                if (case.id, kind, name, repeat) not in done:
                    run = await self._one(case, kind, self.models[name])
                    result = _result(case, kind, name, repeat, run)
                    file.add(result)
                    yield result

    def results(self) -> list[Result]:
        """What is on the disk of the runs that belong to this comparison, in its order. Raises `UsageError`."""
        with ResultFile(self.out / RESULTS, self.settings) as file:
            found = {result.key: result for result in file.results}
        keys = [(case.id, kind, name, repeat) for case, kind, name, repeat in self._planned()]
        return [found[key] for key in keys if key in found]

    @property
    def settings(self) -> Mapping[str, Json]:
        """What results must have in common to be compared; more agents, models, tasks or repeats may come later."""
        return {
            "tasks": self.cases.sha256,
            "limits": asdict(self.limits),
            "tools": list(self.tools),
            "instructions": self.instructions,
            "version": __version__,
        }

    @property
    def size(self) -> int:
        """How many runs it has, those that are done included."""
        return len(list(self._planned()))

    def _planned(self) -> Iterator[tuple[Case, str, str, int]]:
        for repeat in range(1, self.repeat + 1):
            for case in self.cases.cases[: self.limit]:
                for name in self.models:
                    for kind in self.agents:
                        yield case, kind, name, repeat

    async def _one(self, case: Case, kind: str, model: Model) -> Run:
        """One run. What belongs to all runs, model and journal, is left open."""
        sandbox = self.sandbox() if kind == "code" else NoSandbox()
        options: dict[str, Any] = {
            "tools": [self.toolbox[name] for name in case.tools or self.tools],
            "instructions": self.instructions,
            "journal": self.journal,
            "limits": self.limits,
        }
        agent = AGENTS[kind](model, sandbox=sandbox, **options)
        try:
            await sandbox.start()  # before the clock of the run
            if case.prepare:
                await agent.run_by_hand(case.prepare)
                agent.forget()  # the variable is at hand, but how it came there the model is not told
            run = await agent.run(case.task)
        finally:
            await sandbox.close()
        if run.status == "interrupted":
            raise RunInterrupted(run.reason)
        if run.status == "failed" and not any(step.reply for step in run.steps):
            raise RunFailed(run.reason)
        return run


async def ready(model: Model) -> None:
    """Wait until the model can answer, so that its start is no part of the first run. Raises `ModelError`."""
    model.warm_up()
    wait = getattr(model, "wait_until_ready", None)
    if wait:
        await wait()


def _result(case: Case, kind: str, name: str, repeat: int, run: Run) -> Result:
    spent = run.totals
    return Result(
        task=case.id,
        agent=kind,
        model=name,
        repeat=repeat,
        success=is_right(case, run),
        status=run.status,
        steps=spent.steps,
        calls=sum(len(step.calls) for step in run.steps),
        tokens=spent.usage.total,
        seconds=round(spent.seconds, 3),
        cost=spent.cost if spent.cost_known else None,
        run_id=run.id,
        answer=one_line("" if run.answer is None else str(run.answer), ANSWER_CHARACTERS),
        reason=run.reason,
    )
