"""kill -9 of real processes: of the agent's, of its sandbox's, of both; then the run is gone on with in another one.

The agent's process kills itself, from a listener or from inside a tool: between the moment at which an event is stored
and whatever would come next there is no better place, and nothing has to be guessed from outside.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from cellwright import CodeAgent, ScriptedModel, tool
from cellwright.events import ActionFinished, Event, Output, RunResumed
from cellwright.journal import Journal
from cellwright.outputs import plain_text
from cellwright.rewind import resume
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from sensible import Sensible

SECONDS = 60.0

DOOMED = """
import asyncio, os, signal, sys
from pathlib import Path
from cellwright import CodeAgent, ScriptedModel, tool
from cellwright.journal import Journal
from cellwright.outputs import plain_text
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation

folder, moment, victims = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def code(text):
    return f"Go on.\\n```python\\n{text}\\n```"

REPLIES = [
    code("import os\\nx = roll(6)\\nprint('pid', os.getpid())"),
    code("import time\\nx += 100\\nprint('under way', flush=True)\\ntime.sleep(%d)"),
    code("final_answer(x)"),
]

def kill():
    if "sandbox" in victims:
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    if "agent" in victims:
        os.kill(os.getpid(), signal.SIGKILL)

@tool
def roll(sides: int) -> int:
    "Roll a die."
    with (folder / "rolled").open("a") as rolled:
        rolled.write("x")
    if moment == "inside the tool":
        kill()
    return sides - 1

def heard(event):
    text = plain_text(event.output) if getattr(event, "kind", "") == "output" else ""
    if text.startswith("pid "):
        (folder / "pid").write_text(text.split()[1])
    if moment == f"{getattr(event, 'kind', '')} {getattr(event, 'step', 0)}" or moment == text.strip():
        kill()

async def main():
    replies = [reply.replace("%d", "600" if moment == "under way" else "0") for reply in REPLIES]
    sandbox = ChildKernel(workspace=folder, isolation=Isolation(level="process"))
    async with Journal(folder / "journal.sqlite") as journal:
        agent = CodeAgent(
            ScriptedModel(*replies), sandbox=sandbox, journal=journal, tools=[roll], listeners=[heard]
        )
        async with agent:
            await agent.run("Roll.")

asyncio.run(main())
"""

REPLIES = (
    "Go on.\n```python\nimport os\nx = roll(6)\nprint('pid', os.getpid())\n```",
    "Go on.\n```python\nx += 100\n```",
    "Go on.\n```python\nfinal_answer(x)\n```",
)


async def doomed(folder: Path, moment: str, victims: str) -> int:
    """Run the agent in a process of its own, until it is killed; its exit status."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DOOMED, str(folder), moment, victims, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode in (0, -signal.SIGKILL), said.decode()
    return process.returncode


async def gone(pid: int) -> bool:
    """True once no process has that id any more."""
    try:
        _, alive = await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid)], SECONDS)
    except psutil.NoSuchProcess:
        return True
    return not alive


async def resumed(folder: Path) -> tuple[Run, Run]:
    """The run as the process left it, and as it ended."""

    @tool
    def roll(sides: int) -> int:
        """Roll a die."""
        with (folder / "rolled").open("a") as rolled:
            rolled.write("x")
        return sides - 1

    sandbox = ChildKernel(workspace=folder, isolation=Isolation(level="process"))
    async with Journal(folder / "journal.sqlite") as journal:
        before = await journal.latest()
        async with CodeAgent(Sensible(*REPLIES), sandbox=sandbox, journal=journal, tools=[roll]) as agent:
            async with aclosing(resume(agent)) as events:
                async for _ in events:
                    pass
            return before, await journal.run(before.id)


MOMENTS = {
    "run_started 0": 0,
    "reply_received 1": 1,
    "inside the tool": 1,
    "tool_called 1": 1,
    "action_finished 1": 1,
    "under way": 2,
    "answer_given 3": 3,
}
"""When the agent's process is killed, and the last step that was begun by then."""


@pytest.mark.parametrize("moment", MOMENTS)
async def test_f4_after_kill_9_of_the_agent_the_run_is_gone_on_with(tmp_path: Path, moment: str) -> None:
    assert await doomed(tmp_path, moment, "agent") == -signal.SIGKILL
    if (tmp_path / "pid").exists():
        assert await gone(int((tmp_path / "pid").read_text())), "no sandbox outlives its agent"
    before, run = await resumed(tmp_path)
    assert before.status == "running" and max((step.number for step in before.steps), default=0) == MOMENTS[moment]
    assert (run.status, run.answer) == ("success", 105), run.reason
    assert run.events[: len(before.events)] == before.events
    is_lost = moment in ("inside the tool", "tool_called 1")
    assert len((tmp_path / "rolled").read_text()) == 1 + is_lost, "only a step that had not ended rolls again"


async def test_f4_after_kill_9_of_agent_and_sandbox_the_run_is_gone_on_with(tmp_path: Path) -> None:
    assert await doomed(tmp_path, "under way", "agent sandbox") == -signal.SIGKILL
    before, run = await resumed(tmp_path)
    lost = next(step for step in run.steps if step.outcome == "interrupted")
    assert lost.number == 2 and "not repeated by itself" in lost.note
    assert (run.status, run.answer) == ("success", 105), run.reason
    seam = next(event for event in run.events if isinstance(event, RunResumed))
    assert seam.seq == len(before.events) and "1 step ran again" in seam.note


async def test_f4_after_kill_9_of_the_sandbox_alone_the_run_goes_on_by_itself(tmp_path: Path) -> None:
    heard: list[Event] = []
    pids: list[int] = []

    def listen(event: Event) -> None:
        heard.append(event)
        text = plain_text(event.output) if isinstance(event, Output) else ""
        if text.startswith("pid"):
            pids.append(int(text.split()[1]))
            os.kill(pids[-1], signal.SIGKILL)

    code = "import os, time\nx = 1\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)"
    model = ScriptedModel(f"Go.\n```python\n{code}\n```", "Go.\n```python\nfinal_answer('x' in globals())\n```")
    sandbox = ChildKernel(workspace=tmp_path, isolation=Isolation(level="process"))
    more: dict[str, Any] = {"journal": None, "listeners": [listen]}
    async with CodeAgent(model, sandbox=sandbox, **more) as agent:
        run = await agent.run("Go.")
        (told,) = [message.content for message in model.asked[-1] if "all variables are gone" in message.content]
    assert (run.status, run.answer) == ("success", False)
    died = next(event for event in heard if isinstance(event, ActionFinished))
    assert (died.outcome, died.state_lost) == ("died", True) and "SIGKILL" in died.note and "SIGKILL" in told
    assert await gone(pids[0])
