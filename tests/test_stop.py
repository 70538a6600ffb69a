"""Stop means stop: soon, whatever is running, and all goes on from there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cellwright import CodeAgent, ScriptedModel
from cellwright.events import ActionFinished, Event, Output, ReplyDelta
from cellwright.journal import Journal
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel

STOP_SECONDS = 2.0
"""A bound that holds on a busy machine too; `python -m benchmarks stop` holds the real one, 0.5 s."""
GO = "print('go', flush=True)\n"


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


async def wait_async() -> str:
    """Wait."""
    await asyncio.sleep(600)
    return "late"


def wait_sync() -> str:
    """Wait."""
    time.sleep(3)
    return "late"


async def nobody_types(prompt: str, hidden: bool) -> str:
    await asyncio.sleep(600)
    return ""


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path)
    await kernel.start()
    yield kernel
    await kernel.close()


async def stopped_when(agent: CodeAgent, sign: type[Event]) -> tuple[Run, float]:
    """Do a task, stop it shortly after the first event of that kind; the run, and the seconds from stop to end."""
    run, begun = Run(), 0.0

    def stop() -> None:
        nonlocal begun
        begun = time.monotonic()
        agent.stop()

    async for event in agent.stream("Wait."):
        if not isinstance(event, ReplyDelta):
            run.add(event)
        if isinstance(event, sign) and not begun:
            begun = -1.0
            asyncio.get_running_loop().call_later(0.2, stop)
    return run, time.monotonic() - begun


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(600)",
        "input('? ')",
        "wait_async()",
        "wait_sync()",
        "import asyncio; await asyncio.sleep(600)",
        "!sleep 600",
    ],
)
async def test_a9_stop_while_code_runs(sandbox: ChildKernel, tmp_path: Path, code: str) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    agent = CodeAgent(
        ScriptedModel(reply("kept = 1\n" + GO + code), reply("final_answer(kept)")),
        sandbox=sandbox,
        journal=journal,
        tools=[wait_async, wait_sync],
        on_input=nobody_types,
    )
    run, seconds = await stopped_when(agent, Output)
    assert seconds <= STOP_SECONDS
    assert (run.status, run.reason) == ("interrupted", "Stopped by the user.")
    assert run.steps[-1].outcome == "interrupted"
    assert run.steps[-1].text.startswith("go")
    assert (await journal.run(run.id)).events == [event for event in run.events if not event.is_live]
    assert (await agent.run("Go on.")).answer == 1, "the agent and its variables are there still"
    await agent.aclose()


async def test_a9_stop_in_the_middle_of_a_reply(sandbox: ChildKernel) -> None:
    model = ScriptedModel("Thinking. " * 1000, seconds=0.02, piece=10)
    agent = CodeAgent(model, sandbox=sandbox, journal=None)
    run, seconds = await stopped_when(agent, ReplyDelta)
    assert seconds <= STOP_SECONDS
    assert run.status == "interrupted"
    assert model.was_cut == 1, "nobody pays for what is thrown away"
    assert run.steps[-1].reply
    assert run.steps[-1].reply.text.startswith("Thinking.")
    assert not any(isinstance(event, ActionFinished) for event in run.events)
    agent.model = ScriptedModel(reply("final_answer(2)"))
    assert (await agent.run("Go on.")).answer == 2


async def test_a9_leaving_the_stream_early_stops_the_run(sandbox: ChildKernel) -> None:
    agent = CodeAgent(
        ScriptedModel(reply(GO + "while True: pass"), reply("final_answer(3)")), sandbox=sandbox, journal=None
    )
    events = agent.stream("Wait.")
    async for event in events:
        if isinstance(event, Output):
            break
    begun = time.monotonic()
    await events.aclose()
    assert time.monotonic() - begun <= STOP_SECONDS
    assert not agent.is_working
    assert (await agent.run("Go on.")).answer == 3


async def test_a9_cancelling_the_caller_stops_the_run(sandbox: ChildKernel) -> None:
    agent = CodeAgent(
        ScriptedModel(reply(GO + "while True: pass"), reply("final_answer(3)")), sandbox=sandbox, journal=None
    )
    heard = asyncio.Event()
    agent.listeners.append(lambda event: heard.set() if isinstance(event, Output) else None)
    running = asyncio.create_task(agent.run("Wait."))
    await heard.wait()
    begun = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - begun <= STOP_SECONDS
    assert (await agent.run("Go on.")).answer == 3


async def test_a9_stopping_twice_or_without_a_run_does_no_harm(sandbox: ChildKernel) -> None:
    agent = CodeAgent(
        ScriptedModel(reply(GO + "while True: pass"), reply("final_answer(3)")), sandbox=sandbox, journal=None
    )
    agent.stop()
    agent.listeners.append(lambda event: (agent.stop(), agent.stop())[0] if isinstance(event, Output) else None)  # type: ignore[func-returns-value]
    assert (await agent.run("Wait.")).status == "interrupted"
    agent.listeners.clear()
    assert (await agent.run("Go on.")).answer == 3
