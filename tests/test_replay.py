"""C7: replies from the record, so that notebooks and tests run without a key; another request fails and says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwright import CodeAgent, ScriptedModel, ToolCallingAgent, tool
from cellwright.errors import UnknownModel
from cellwright.facts import ToolUse
from cellwright.journal import Journal
from cellwright.models.choice import choose
from cellwright.models.replay import ReplayModel
from cellwright.notebook.export import write
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


@tool
def double(x: int) -> int:
    """Double a number."""
    return 2 * x


@pytest.fixture
async def recorded(tmp_path: Path) -> Run:
    """A run of two steps on record, as a journal and as a notebook."""
    journal = Journal(tmp_path / "journal.sqlite")
    model = ScriptedModel("1. look", reply("x = 20\nprint(x)"), reply("final_answer(x + 1)"))
    async with CodeAgent(model, sandbox=ChildKernel(), journal=journal, planning_interval=5) as agent:
        run = await agent.run("Look.")
    write([run], tmp_path / "audit.ipynb")
    return run


async def again(source: str, task: str = "Look.", interval: int = 5) -> Run:
    agent = CodeAgent((await choose(source)).model, sandbox=ChildKernel(), journal=None, planning_interval=interval)
    async with agent:
        return await agent.run(task)


@pytest.mark.parametrize("source", ["journal.sqlite", "audit.ipynb"])
async def test_c7_a_run_is_done_again_from_its_record(recorded: Run, tmp_path: Path, source: str) -> None:
    run = await again(f"replay:{tmp_path / source}")
    assert (run.status, run.answer) == ("success", 21)
    assert [step.code for step in run.steps] == [step.code for step in recorded.steps]
    assert run.totals.usage == recorded.totals.usage
    assert run.totals.cost == 0.0


async def test_c7_another_task_is_said(recorded: Run, tmp_path: Path) -> None:
    run = await again(f"replay:{tmp_path / 'audit.ipynb'}", "Look elsewhere.")
    assert run.status == "failed"
    assert "is not the one on record" in run.reason
    assert "\n" not in run.reason


async def test_c7_another_observation_is_said(tmp_path: Path) -> None:
    model = ScriptedModel(reply("import time\nprint(time.time())"), reply("final_answer(1)"))
    async with CodeAgent(model, sandbox=ChildKernel(), journal=None) as agent:
        write([await agent.run("Look.")], tmp_path / "audit.ipynb")
    replay = CodeAgent(ReplayModel(str(tmp_path / "audit.ipynb")), sandbox=ChildKernel(), journal=None)
    async with replay:
        run = await replay.run("Look.")
    assert (run.status, len(run.steps)) == ("failed", 1)
    assert run.reason.startswith("Request 2 is not the one on record: what was seen before it differs")


async def test_c7_function_calls_are_replayed(tmp_path: Path) -> None:
    script = [ToolUse("c1", "double", '{"x": 4}')]
    model = ScriptedModel(script, [ToolUse("c2", "final_answer", '{"answer": "result_1"}')])
    run = await ToolCallingAgent(model, tools=[double], journal=None).run("Double.")
    write([run], tmp_path / "audit.ipynb")
    done = ToolCallingAgent(ReplayModel(str(tmp_path / "audit.ipynb")), tools=[double], journal=None)
    assert (await done.run("Double.")).answer == 8


@pytest.mark.parametrize(
    "content", [None, "", "{}", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}']
)
async def test_c7_what_is_no_record_is_said(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "some.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UnknownModel) as error:
        await choose(f"replay:{path}")
    assert "\n" not in str(error.value)


async def test_c7_a_record_that_was_changed_is_said(recorded: Run, tmp_path: Path) -> None:
    path = tmp_path / "audit.ipynb"
    path.write_text(path.read_text().replace("1. look", "1. jump"))
    with pytest.raises(UnknownModel, match="its record was changed: event 2 does not fit the chain"):
        await choose(f"replay:{path}")


async def test_c7_a_run_that_is_not_in_the_journal_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="No run 'nothing'"):
        await choose("replay:nothing")
