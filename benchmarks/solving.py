"""What the embedded model solves at temperature 0: ten small tasks, and tasks on a real table.

Each task begins with an empty conversation and an empty sandbox. The first one, which also waits until the weights are
loaded, is not counted. `BENCHMARKS_SHOW=1` prints every step to stderr.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from cellwright import CodeAgent, Run
from cellwright.compare import Case, is_right, read_cases
from cellwright.models.embedded import EmbeddedModel, problem

from .table import show

HERE = Path(__file__).parent
FIRST = Case(id="first", task="What is 1 + 1?", check="number", expect=2)


async def measure_tasks() -> None:
    """Ten tasks that need no data; target: nine solved, 15 s each."""
    await solve_all("The ten tasks, embedded model (target: 9 solved, 15 s each)", read("tasks.jsonl"), "")


async def measure_notebook() -> None:
    """Tasks on penguins.csv, some with the table in the variable df; a task that asks for a plot must show one."""
    if find_spec("palmerpenguins") is None:
        print("\nnotebook: needs `pip install palmerpenguins`; nothing measured.")
        return
    table = resources.files("palmerpenguins") / "data" / "penguins.csv"
    await solve_all("Tasks on a table, embedded model", read("notebook.jsonl"), table.read_text("utf-8"))


def read(name: str) -> Sequence[Case]:
    """The tasks in a file, one JSON object a line."""
    return read_cases(HERE / name).cases


async def solve_all(title: str, tasks: Sequence[Case], table: str) -> None:
    """Do the tasks one after another and print how they went."""
    if why := problem():
        print(f"\n{title}: {why}")
        return
    rows: list[list[object]] = []
    solved, taken = 0, []
    with folder_with(table):
        async with CodeAgent(EmbeddedModel(), journal=None) as agent:
            _, seconds = await solve(agent, FIRST)
            rows.append(["(loading, and a first task)", "", f"{seconds:.1f}", "", ""])
            for task in tasks:
                run, seconds = await solve(agent, task)
                good = is_right(task, run)
                solved += good
                taken.append(seconds)
                answer = " ".join(str(run.answer).split())[:50]
                rows.append([task.id, "yes" if good else "NO", f"{seconds:.1f}", len(run.steps), answer])
    rows.append(["all", f"{solved}/{len(tasks)}", f"{sum(taken) / len(taken):.1f}", "", f"longest {max(taken):.1f} s"])
    show(title, ["task", "solved", "seconds", "steps", "answer"], rows)


async def solve(agent: CodeAgent, task: Case) -> tuple[Run, float]:
    """The run of one task in a new conversation and a new sandbox, and its seconds."""
    await agent.reset()
    if task.prepare:
        await agent.run_by_hand(task.prepare)
        agent.forget()  # the variable is at hand, but how it came there the model is not told
    began = time.perf_counter()
    run = await agent.run(task.task, max_steps=5)
    seconds = time.perf_counter() - began
    if os.environ.get("BENCHMARKS_SHOW"):
        print_steps(run)
    return run, seconds


def print_steps(run: Run) -> None:
    """What was said and done, for a look at what went wrong."""
    print(f"\n=== {run.task}\n{run.started.context if run.started else ''}", file=sys.stderr)
    for step in run.steps:
        print(f"--- {step.thought}\n{step.code}\n=> {step.outcome} {step.text[:600]} {step.note}", file=sys.stderr)
    print(f"=> {run.status} {run.reason} {run.answer!r}", file=sys.stderr)


@contextmanager
def folder_with(table: str) -> Iterator[None]:
    """Work in a new folder that holds only the table, if any, so that no file that lies about is at hand."""
    before, folder = Path.cwd(), Path(tempfile.mkdtemp())
    if table:
        (folder / "penguins.csv").write_text(table, "utf-8")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)
