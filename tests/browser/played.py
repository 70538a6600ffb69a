"""A run that is played instead of done: the events of a small analysis, in the order in which a loop emits them.

It is imported by tests and by the notebooks that the browser tests open.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from io import BytesIO

from cellwright.events import (
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Event,
    Outcome,
    Output,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunStarted,
    Status,
    ToolCalled,
)
from cellwright.facts import SandboxFacts, Totals, Usage
from cellwright.limits import Limits
from cellwright.outputs import CellOutput, Display, Failure, Json, Stream

TASK = "Which species of penguin has the longest flippers on average? Plot it, and compare it with the others."
DOT_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TABLE = """<div>
<style scoped>.dataframe tbody tr th {vertical-align: top;}</style>
<table border="1" class="dataframe">
  <thead><tr style="text-align: right;"><th></th><th>count</th><th>mean</th><th>std</th></tr></thead>
  <tbody>
    <tr><th>Adelie</th><td>151</td><td>189.95</td><td>6.54</td></tr>
    <tr><th>Chinstrap</th><td>68</td><td>195.82</td><td>7.13</td></tr>
    <tr><th>Gentoo</th><td>123</td><td>217.19</td><td>6.48</td></tr>
  </tbody>
</table>
</div>"""
TRACEBACK = (
    "\x1b[31m---------------------------------------------------------------------------\x1b[39m",
    "\x1b[31mKeyError\x1b[39m                                  Traceback (most recent call last)",
    "Cell \x1b[32mIn[2]\x1b[39m, line 1\n\x1b[32m----> 1\x1b[39m means = df.groupby('kind')['flipper_mm'].mean()",
    "\x1b[31mKeyError\x1b[39m: 'kind'",
)


def started(task: str = TASK, **changes: Json) -> RunStarted:
    """The first event. `changes`: fields of `RunStarted` that are different."""
    sandbox = SandboxFacts("child-kernel", "process", "host", "python3", "3.11", "work")
    event = RunStarted(
        run_id="r1",
        conversation="c1",
        task=task,
        model="anthropic/claude-sonnet-4-5",
        sandbox=sandbox,
        limits=Limits(steps=12),
        time=time.time(),
    )
    return replace(event, **changes)


def turn(
    step: int, thought: str, code: str, *outputs: CellOutput | ToolCalled, outcome: Outcome = "ok", seconds: float = 0.8
) -> Iterator[Event]:
    """The events of one step; the reply comes in pieces of 12 characters."""
    reply = f"{thought}\n\n```python\n{code}\n```"
    for start in range(0, len(reply), 12):
        yield ReplyDelta(step=step, text=reply[start : start + 12])
    usage = Usage(prompt=1400 + 420 * step, completion=len(reply) // 4)
    yield ReplyReceived(step=step, text=reply, usage=usage, cost=0.0021 * step, seconds=1.9)
    yield ActionProposed(step=step, thought=thought, code=code)
    for output in outputs:
        yield output if isinstance(output, ToolCalled) else Output(step=step, output=output)
    yield ActionFinished(step=step, outcome=outcome, seconds=seconds)


def ended(status: Status = "success", reason: str = "", steps: int = 0) -> RunEnded:
    """The last event."""
    totals = Totals(steps=steps, seconds=14.2, usage=Usage(prompt=9120, completion=412), cost=0.0126)
    return RunEnded(status=status, reason=reason, totals=totals)


def analysis(picture: str = DOT_PNG, table: str = TABLE) -> Iterator[Event]:
    """A small analysis: a table, an error, a picture, an answer."""
    yield started()
    yield from turn(
        1,
        "I first look at the file to see **which columns** it has.",
        'import pandas as pd\n\ndf = pd.read_csv("penguins.csv")   # one row per bird\nprint(df.shape)\n'
        'df.groupby("species")["flipper_length_mm"].agg(["count", "mean", "std"]).round(2)',
        Stream("stdout", "(344, 8)\n"),
        Stream("stdout", "reading  50 %"),
        Stream("stdout", "\rreading 100 %\n"),
        Stream("stderr", "FutureWarning: observed=False is deprecated\n"),
        ToolCalled(step=1, name="search", args=("penguin data",), kwargs={"limit": 2}, result=["a.csv"], seconds=0.31),
        Display({"text/html": table, "text/plain": "a table"}, is_result=True),
        seconds=1.31,
    )
    yield from turn(
        2,
        "Now the mean for each species:\n\n1. group the rows\n2. take the mean of `flipper_mm`",
        "means = df.groupby('kind')['flipper_mm'].mean()\nprint(means)",
        Failure("KeyError", "'kind'", TRACEBACK, 1),
        outcome="error",
        seconds=0.06,
    )
    yield from turn(
        3,
        "The columns are called `species` and `flipper_length_mm`. I plot the means.",
        "import matplotlib.pyplot as plt\n\nmeans = df.groupby('species')['flipper_length_mm'].mean()\n"
        "means.sort_values().plot.barh(xlabel='mm')\nplt.show()\nfinal_answer(means.idxmax())",
        Display({"image/png": picture, "text/plain": "<Figure size 640x480 with 1 Axes>"}),
        seconds=0.92,
    )
    text = "**Gentoo**: 217.2 mm on average, 21.4 mm more than *Chinstrap* and 27.2 mm more than *Adelie*."
    yield AnswerGiven(
        step=3, data={"text/markdown": text, "text/plain": text.replace("*", "")}, value=text, has_value=True
    )
    yield ended(steps=3)


def long_run(steps: int = 100) -> Iterator[Event]:
    """Many steps of the usual size."""
    yield started("A long task")
    for number in range(1, steps + 1):
        yield from turn(
            number,
            f"Step {number}: I go on with the *next part* of the file, as planned.",
            f"part = rows[{number * 100}:{number * 100 + 100}]\nfor row in part:\n    total += float(row['amount'])\n"
            f"print('part {number}', len(part), round(total, 2))",
            Stream("stdout", f"part {number} 100 {number * 1234.5}\n"),
        )
    yield ended("out_of_steps", f"No answer after {steps} steps; `--max-steps` raises the limit.", steps)


async def play(events: Iterator[Event], take: Callable[[Event], None], wait: float = 0.0) -> None:
    """Give `events` to a listener, `wait` seconds after each piece of a reply, three times that after others."""
    async for event in _timed(events, wait):
        take(event)


async def _timed(events: Iterator[Event], wait: float) -> AsyncIterator[Event]:
    for number, event in enumerate(events):
        yield replace(event, seq=number, time=event.time or time.time())
        await asyncio.sleep(wait if isinstance(event, ReplyDelta) else 3 * wait)


def plot() -> str:
    """A real picture, as base64 of a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(["Adelie", "Chinstrap", "Gentoo"], [189.95, 195.82, 217.19], color=["#9db4d0", "#9db4d0", "#2f6db3"])
    axes.set_xlabel("mean flipper length (mm)")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
