"""Ten managed agents at the same time, each on a model that takes a second for its one reply, its answer.

Measured is the whole run of the agent that calls them, from task to answer; its own model costs no time. The kernels
of code agents are started before (`warm`), or by the call (`cold`). smolagents is measured beside it: its managed
agents called from code one after another, as its models write it, and in threads, where the person allows the import.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from cellwright import CodeAgent, ScriptedModel, ToolCallingAgent
from cellwright.facts import ToolUse
from cellwright.journal import Journal

from .table import show

AGENTS = 10
SECONDS = 1.0
ROUNDS = 3
TARGET = 1.5
NAMES = [f"helper_{number}" for number in range(AGENTS)]
THREADS = (
    "from concurrent.futures import ThreadPoolExecutor\n"
    f"with ThreadPoolExecutor({AGENTS}) as pool:\n"
    f"    results = list(pool.map(lambda helper: helper('Answer.'), [{', '.join(NAMES)}]))\n"
    "final_answer(len(results))"
)
ONE_BY_ONE = f"results = [helper('Answer.') for helper in [{', '.join(NAMES)}]]\nfinal_answer(len(results))"


async def measure_agents() -> None:
    """Ten called at once: tool-calling agents, code agents with warm kernels, with cold ones; smolagents' ways."""
    rows, began = [], os.getloadavg()[0]
    rows.append(shown("tool-calling agents", [await our_tools() for _ in range(ROUNDS)]))
    starting, *warm = await our_kernels(warm=True)
    rows.append(shown("code agents, kernels warm", warm))
    cold = await our_kernels(warm=False)
    rows.append(shown("code agents, kernels cold", cold[1:2]))
    if find_spec("smolagents"):
        rows.append(shown("smolagents, one after another", [rival(ONE_BY_ONE)]))
        rows.append(shown("smolagents, in threads", [rival(THREADS) for _ in range(ROUNDS)]))
    head = ["ten managed agents", "rounds", "median s", "longest s"]
    show(f"Ten at once, {SECONDS:g} s for each model's one reply (target: under {TARGET:g} s)", head, rows)
    print(f"Starting the ten kernels beforehand took {starting:.2f} s. Load {began:.1f} before.", flush=True)


def shown(name: str, seconds: Sequence[float]) -> list[str]:
    """A row of the table."""
    return [name, str(len(seconds)), f"{median(seconds):.2f}", f"{max(seconds):.2f}"]


async def our_tools() -> float:
    """Seconds of a tool-calling agent that calls ten tool-calling agents in one reply."""
    slow = [[ToolUse("c", "final_answer", '{"answer": 1}')] for _ in NAMES]
    helpers = [
        ToolCallingAgent(ScriptedModel(reply, seconds=SECONDS), name=name, description="Answers.")
        for name, reply in zip(NAMES, slow, strict=True)
    ]
    calls = [ToolUse(name, name, '{"task": "Answer."}') for name in NAMES]
    model = ScriptedModel(calls, [ToolUse("c", "final_answer", '{"answer": "result_10"}')])
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        async with ToolCallingAgent(model, journal=journal, managed_agents=helpers) as agent:
            return await timed(agent, 1)


async def our_kernels(warm: bool) -> list[float]:
    """Seconds until ten kernels had started, and of the runs of a code agent that calls ten in threads."""
    answer = f"I know it.\n```python\nfinal_answer({AGENTS})\n```"
    helpers = [
        CodeAgent(ScriptedModel(answer, seconds=SECONDS, piece=1000), name=name, description="Answers.")
        for name in NAMES
    ]
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        journal = Journal(Path(folder) / "journal.sqlite")
        model = ScriptedModel(f"I ask all.\n```python\n{THREADS}\n```")
        agent = await stack.enter_async_context(CodeAgent(model, journal=journal, managed_agents=helpers))
        await agent.sandbox.start()
        began = time.perf_counter()
        if warm:
            await asyncio.gather(*(helper.sandbox.start() for helper in helpers))
        taken = time.perf_counter() - began
        return [taken, *[await timed(agent, AGENTS) for _ in range(ROUNDS)]]


async def timed(agent: CodeAgent, answer: int) -> float:
    """Seconds of one run; its answer is checked."""
    began = time.perf_counter()
    run = await agent.run("Ask all ten.")
    taken = time.perf_counter() - began
    assert (run.status, run.answer) == ("success", answer), run
    return taken


def rival(code: str) -> float:
    """Seconds of a smolagents code agent that runs `code` to call ten of its managed code agents."""
    import smolagents

    def model(reply: str, seconds: float) -> Any:
        class Slow(smolagents.Model):  # type: ignore[misc]
            def generate(self, messages: Any, **_: Any) -> Any:
                time.sleep(seconds)
                usage = smolagents.monitoring.TokenUsage(1000, 40)
                return smolagents.ChatMessage(role="assistant", content=reply, token_usage=usage)

        return Slow(model_id="slow")

    answer = model("Thought: I know it.\n<code>\nfinal_answer(1)\n</code>", SECONDS)
    helpers = [
        smolagents.CodeAgent([], answer, name=name, description="Answers.", verbosity_level=-1) for name in NAMES
    ]
    agent = smolagents.CodeAgent(
        [], model(f"Thought: I ask all.\n<code>\n{code}\n</code>", 0.0), managed_agents=helpers, verbosity_level=-1,
        additional_authorized_imports=["concurrent.futures"],
    )  # fmt: skip
    began = time.perf_counter()
    answered = agent.run("Ask all ten.")
    taken = time.perf_counter() - began
    assert answered == AGENTS, answered
    return taken
