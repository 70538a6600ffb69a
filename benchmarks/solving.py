"""What the embedded model solves at temperature 0: ten small tasks, and tasks on a real table.

Each task begins with an empty conversation and an empty sandbox. The first one, which also waits until the weights are
loaded, is not counted. `BENCHMARKS_SHOW=1` prints every step to stderr.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cellwright import CodeAgent, Run
from cellwright.models.embedded import EmbeddedModel, problem
from cellwright.outputs import Display

from .table import show

HERE = Path(__file__).parent
Task = Mapping[str, Any]


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


def read(name: str) -> list[Task]:
    """The tasks in a file, one JSON object a line."""
    return [json.loads(line) for line in (HERE / name).read_text("utf-8").splitlines()]


async def solve_all(title: str, tasks: Sequence[Task], table: str) -> None:
    """Do the tasks one after another and print how they went."""
    if why := problem():
        print(f"\n{title}: {why}")
        return
    rows: list[list[object]] = []
    solved, taken = 0, []
    with folder_with(table):
        async with CodeAgent(EmbeddedModel(), journal=None) as agent:
            _, seconds = await solve(agent, {"task": "What is 1 + 1?"})
            rows.append(["(loading, and a first task)", "", f"{seconds:.1f}", "", ""])
            for task in tasks:
                run, seconds = await solve(agent, task)
                good = is_right(task, run)
                solved += good
                taken.append(seconds)
                answer = " ".join(str(run.answer).split())[:50]
                rows.append([task["id"], "yes" if good else "NO", f"{seconds:.1f}", len(run.steps), answer])
    rows.append(["all", f"{solved}/{len(tasks)}", f"{sum(taken) / len(taken):.1f}", "", f"longest {max(taken):.1f} s"])
    show(title, ["task", "solved", "seconds", "steps", "answer"], rows)


async def solve(agent: CodeAgent, task: Task) -> tuple[Run, float]:
    """The run of one task in a new conversation and a new sandbox, and its seconds."""
    await agent.reset()
    if prepare := task.get("prepare"):
        await agent.run_by_hand(prepare)
        agent.forget()  # the variable is at hand, but how it came there the model is not told
    began = time.perf_counter()
    run = await agent.run(task["task"], max_steps=5)
    seconds = time.perf_counter() - began
    if os.environ.get("BENCHMARKS_SHOW"):
        print_steps(run)
    return run, seconds


def is_right(task: Task, run: Run) -> bool:
    """True when the answer is the expected one and, where a plot was asked for, there is one."""
    if run.answered is None or run.status != "success":
        return False
    if task.get("plot") and not any(
        isinstance(output, Display) and "image/png" in output.data for step in run.steps for output in step.outputs
    ):
        return False
    text = str(run.answer)
    if task["check"] == "contains":
        return all(word in text for word in task["expect"])
    numbers = re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text.replace("np.float64", ""))
    near = float(task.get("near", 1e-9))
    expected = float(task["expect"])
    return bool(numbers) and abs(float(numbers[-1]) - expected) <= near * max(1.0, abs(expected))


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
