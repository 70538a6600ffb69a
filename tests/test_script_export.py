"""`jupyter nbconvert --to script` on an agent notebook: the Python that was executed, and it runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from cellwright.events import ActionDecided, ActionFinished, ActionProposed, RunStarted
from cellwright.run import Run
from cellwright_extension.executed import executed
from cellwright_kernel.install import install
from cellwright_kernel.script import script
from fake_provider import FakeProvider
from notebook import MODEL

V4: Any = nbformat.v4
"""Untyped."""
CELLS = (
    "How much is {start} doubled?\npy: doubled = start * 2\nprint('doubled', doubled)",
    "%%py\nafter = doubled + 1\nprint('after', after)\n'not shown by a script'",
    "Fail first.\npy: import math\n1 / 0",
    "%%agent --max-steps 1\nGive no answer.\npy: print('no answer')",
    '%%tool\n@tool\ndef half(number: int) -> float:\n    """Halve.\n\n    number: any\n    """\n    return number / 2',
    "py: final_answer(half(after))\nprint('never run')",
    "%agent steps",
    "!echo from the shell",
)


async def executed_notebook(provider: FakeProvider, folder: Path) -> Any:
    """A notebook of the Cellwright kernel, run by nbclient as anybody would."""
    await asyncio.to_thread(install, user=True)
    cells = [V4.new_markdown_cell("# Doubling\nA test."), *map(V4.new_code_cell, ("%%py\nstart = 21", *CELLS))]
    notebook = V4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "cellwright", "display_name": "x"}})
    client = NotebookClient(notebook, timeout=60, allow_errors=True, resources={"metadata": {"path": str(folder)}})
    base = provider.base_url
    return await client.async_execute(
        env={**os.environ, **MODEL, "OPENAI_API_BASE": base, "OPENAI_BASE_URL": base, "CELLWRIGHT_ISOLATION": "process"}
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_e1_nbconvert_gives_the_executed_python(provider: FakeProvider, tmp_path: Path) -> None:
    notebook = await executed_notebook(provider, tmp_path)
    assert notebook.metadata.language_info.nbconvert_exporter == "cellwright"
    nbformat.validate(notebook)
    (tmp_path / "agent.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "nbconvert", "--to", "script", str(tmp_path / "agent.ipynb")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "agent.py").read_text()
    compile(written, "agent.py", "exec")
    for said in ("# # Doubling", "# How much is {start} doubled?", "# %agent steps", "# print('never run')"):
        assert said in written
    # Run where there is no IPython, it prints what the notebook showed; only the shell's line needs IPython.
    plain = written.replace("get_ipython().system('echo from the shell')", "")
    assert plain != written
    (tmp_path / "plain.py").write_text(plain)
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout.splitlines() == [
        "doubled 42",
        "done",
        "after 43",
        "ZeroDivisionError: division by zero",
        "done",
        "no answer",
        "21.5",
    ], ran.stderr


def notebook_of(*cells: Any) -> dict[str, Any]:
    """A notebook as nbconvert hands it over."""
    return dict(V4.new_notebook(cells=list(cells)))


def run_of(*steps: tuple[str, str]) -> Run:
    """A run with these codes and how each ended."""
    run = Run([RunStarted(run_id="r", conversation="c", task="t")])
    for number, (code, outcome) in enumerate(steps, start=1):
        run.add(ActionProposed(step=number, thought="", code=code))
        verdict: Any = "denied" if outcome == "denied" else "approved"
        run.add(ActionDecided(step=number, verdict=verdict, code=code, by="x"))
        if outcome != "denied":
            how: Any = outcome
            run.add(ActionFinished(step=number, outcome=how, seconds=0.1))
    return run


def task_cell(*steps: tuple[str, str]) -> Any:
    """A task whose output says what ran for it; twice, as it is where view and result both say it."""
    shown = [
        V4.new_output("display_data", data={"text/plain": "x"}, metadata=executed(run_of(*steps))) for _ in range(2)
    ]
    return V4.new_code_cell("Do it.", execution_count=1, outputs=shown)


@pytest.mark.parametrize(
    ("outputs", "count", "said"),
    [
        ([], 1, "its output was cleared, or it did not end"),
        ([], None, "it was not run"),
        ([V4.new_output("display_data", data={}, metadata={"cellwright": {"steps": 3}})], 1, "its output was cleared"),
        ([V4.new_output("display_data", data={}, metadata={"cellwright": "x"})], 1, "its output was cleared"),
    ],
)
def test_e1_a_script_says_what_is_not_at_hand(outputs: list[Any], count: int | None, said: str) -> None:
    written = script(notebook_of(V4.new_code_cell("Do it.", execution_count=count, outputs=outputs)))
    compile(written, "x", "exec")
    assert f"The code of this task is not in the notebook: {said}" in written


def test_e1_a_script_has_what_ran_and_only_that() -> None:
    steps = ("first = 1", "ok"), ("denied = 1", "denied"), ("stopped = 1", "interrupted"), ("last = 2", "ok")
    written = script(notebook_of(task_cell(*steps)))
    names: dict[str, object] = {}
    exec(compile(written, "x", "exec"), names)
    assert (names["first"], names["stopped"], names["last"]) == (1, 1, 2)
    assert "denied" not in names
    assert written.count("first = 1") == 1
    assert "def final_answer" not in written


def test_e1_a_failed_step_keeps_texts_of_several_lines() -> None:
    code = 'text = """a\n  b\nc"""\n\nif True:\n    other = f"""{1 +\n1}\nd"""\n(1 /\n0)\nnever = 1'
    names: dict[str, object] = {}
    exec(compile(script(notebook_of(task_cell((code, "error")))), "x", "exec"), names)
    assert names["text"] == "a\n  b\nc"
    assert names["other"] == "2\nd"
    assert "never" not in names


@pytest.mark.parametrize("code", ["await thing()", "%time x = 1", "df?", "files = !ls", "1 +", "%%time\nx = 1", "\x00"])
def test_e1_whatever_ran_the_script_compiles(code: str) -> None:
    for outcome in ("ok", "error"):
        compile(script(notebook_of(task_cell((code, outcome)))), "x", "exec")
    compile(script(notebook_of(V4.new_code_cell(f"%%py\n{code}"))), "x", "exec")
