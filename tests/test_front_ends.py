"""An agent notebook without a page: by nbclient, by papermill, by `jupyter console` in a terminal."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
import pexpect
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from fake_provider import FakeProvider
from notebook import MODEL, WIDGET

KERNEL = "cellwright"
PARAMETERS = new_code_cell('%%py\nspecies = "Adelie"\nfactor = 2', metadata={"tags": ["parameters"]})  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.asyncio(loop_scope="module")


def environment(provider: FakeProvider, folder: Path, **more: str) -> dict[str, str]:
    """Of a process whose kernel asks `provider`, and keeps its journal in `folder`."""
    places = dict.fromkeys(("OPENAI_API_BASE", "OPENAI_BASE_URL"), provider.base_url)
    return {**os.environ, **MODEL, **places, "CELLWRIGHT_JOURNAL": str(folder / "journal.sqlite"), **more}


def notebook_of(*cells: str | NotebookNode) -> NotebookNode:
    """An agent notebook, as JupyterLab saves it."""
    made = [cell if isinstance(cell, NotebookNode) else new_code_cell(cell) for cell in cells]  # type: ignore[no-untyped-call]
    kernel = {"name": KERNEL, "display_name": "Cellwright", "language": "markdown"}
    return new_notebook(cells=made, metadata={"kernelspec": kernel, "language_info": {"name": "markdown"}})  # type: ignore[no-any-return, no-untyped-call]


async def execute(notebook: NotebookNode, folder: Path, env: Mapping[str, str]) -> None:
    """Run the cells headless."""
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, kernel_name=KERNEL, timeout=120, resources=resources)
    await client.async_execute(env=env, cleanup_kc=True)


def twin(cell: NotebookNode) -> str:
    """The static twin of a task's cell, as text."""
    (shown,) = (output for output in cell.outputs if output.output_type == "display_data")
    assert set(shown.data) == {"text/html", "text/plain"}, "no widget is left in what is saved"
    return str(shown.data["text/plain"])


def answer(cell: NotebookNode) -> str:
    """The result of a cell, as text."""
    return "".join(o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result")


# ---- nbclient -------------------------------------------------------------------------------------------------------


async def test_e6_nbclient_runs_an_agent_notebook(provider: FakeProvider, tmp_path: Path) -> None:
    task = "py: print('doubled', flush=True); final_answer(x * 2)"
    notebook = notebook_of("%%py\nx = 21\nx", task, "%agent vars", "Say {x}.")
    await execute(notebook, tmp_path, environment(provider, tmp_path))
    by_hand, done, names, filled_in = notebook.cells
    assert answer(by_hand) == "21"
    assert answer(done) == "42"
    said = twin(done)
    assert said.startswith(task)
    assert "done · openai/x · 1 step" in said
    assert "  | print('doubled', flush=True)" in said
    assert "  doubled" in said
    assert "x" in answer(names)
    assert answer(filled_in).strip("'") == "Say 21."
    assert not any(output.output_type == "stream" for output in done.outputs), "steps are told once"
    assert WIDGET not in str(notebook.cells)


async def test_e6_headless_nobody_is_asked_and_the_mode_decides(provider: FakeProvider, tmp_path: Path) -> None:
    risky = "py: import subprocess; open('made', 'w').write('x'); final_answer(1)"
    notebook = notebook_of("%agent approve ask-risky", "py: final_answer(1 + 1)", risky, "%agent approve", risky)
    begun = time.monotonic()
    await execute(notebook, tmp_path, environment(provider, tmp_path, CELLWRIGHT_APPROVE="ask"))
    assert time.monotonic() - begun < 90, "nobody is waited for"
    _, harmless, denied, *_ = notebook.cells
    assert answer(harmless) == "2"
    assert answer(denied).strip("'") == "done", "the model was told, and went on"
    said = twin(denied)
    assert "needs a person's approval (other programs: subprocess). Nobody can be asked here" in said
    assert "not run" in said
    assert not files(tmp_path, "made")


async def test_e6_nbclient_stops_at_the_first_cell_that_fails(provider: FakeProvider, tmp_path: Path) -> None:
    notebook = notebook_of("%agent limits --max-steps 1", "py: print('no answer')", "py: final_answer('too late')")
    with pytest.raises(CellExecutionError, match="No answer after 1 step"):
        await execute(notebook, tmp_path, environment(provider, tmp_path))
    _, failed, never = notebook.cells
    assert "out of steps" in twin(failed), "what was done is kept"
    assert never.outputs == []


# ---- papermill ------------------------------------------------------------------------------------------------------


async def papermill(
    notebook: NotebookNode, provider: FakeProvider, folder: Path, *args: str
) -> tuple[int, NotebookNode, str]:
    """`papermill in.ipynb out.ipynb ARGS`: its exit code, the notebook that it wrote, what it said."""
    nbformat.write(notebook, folder / "in.ipynb")  # type: ignore[no-untyped-call]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "--no-progress-bar", *args),
        cwd=folder,
        env=environment(provider, folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, nbformat.read(folder / "out.ipynb", as_version=4), said.decode()  # type: ignore[no-untyped-call]


TASKS = ("Look at {species}.", "py: final_answer(factor * 21)")


async def test_e6_papermill_runs_an_agent_notebook(provider: FakeProvider, tmp_path: Path) -> None:
    code, written, said = await papermill(notebook_of(PARAMETERS, *TASKS), provider, tmp_path)
    assert code == 0, said
    assert [answer(cell).strip("'") for cell in written.cells] == ["", "Look at Adelie.", "42"]
    assert "1 step" in twin(written.cells[2])


async def test_e6_papermill_gives_parameters_to_tasks_and_code(provider: FakeProvider, tmp_path: Path) -> None:
    given = ("-p", "species", "Gentoo", "-p", "factor", "3")
    code, written, said = await papermill(notebook_of(PARAMETERS, *TASKS), provider, tmp_path, *given)
    assert code == 0, said
    _, injected, *_ = written.cells
    assert injected.source.startswith("%%py\n# Parameters\n")
    assert injected.metadata.tags == ["injected-parameters"]
    assert [answer(cell).strip("'") for cell in written.cells] == ["", "", "Look at Gentoo.", "63"]


async def test_e6_papermill_takes_every_kind_of_parameter(provider: FakeProvider, tmp_path: Path) -> None:
    given = ("-y", "{text: 'it''s \"so\"', number: -1.5, flag: true, nothing: null, many: [1, a], parts: {k: 2}}")
    show = "%%py\n(text, number, flag, nothing, many, parts)"
    code, written, said = await papermill(notebook_of(show), provider, tmp_path, *given)
    assert code == 0, said
    assert answer(written.cells[1]) == """('it\\'s "so"', -1.5, True, None, [1, 'a'], {'k': 2})"""


async def test_e6_papermill_keeps_what_a_failed_notebook_did(provider: FakeProvider, tmp_path: Path) -> None:
    failing = notebook_of("%agent limits --max-steps 1", "py: print('no answer')", "py: final_answer('too late')")
    code, written, said = await papermill(failing, provider, tmp_path)
    assert code != 0
    assert "No answer after 1 step" in said
    failed = next(cell for cell in written.cells if cell.source == "py: print('no answer')")
    assert "out of steps" in twin(failed)


# ---- jupyter console ------------------------------------------------------------------------------------------------


class Console:
    """`jupyter console` in a terminal of its own."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._cell = 1

    async def until(self, text: str, seconds: float = 60) -> str:
        """Wait for a text; what was shown before it."""
        await self._process.expect_exact(text, timeout=seconds, async_=True)
        return str(self._process.before).replace("\r\n", "\n")

    def type(self, line: str) -> None:
        """Type a line."""
        self._process.sendline(line)

    def interrupt(self) -> None:
        """Ctrl+C."""
        self._process.sendintr()

    async def shown(self, seconds: float = 60) -> str:
        """What the cell that runs has shown since it was last asked, at its end."""
        self._cell += 1
        return await self.until(f"In [{self._cell}]:", seconds)

    async def run(self, line: str) -> str:
        """Run a cell of one line; what it showed."""
        self.type(line)
        return await self.shown()


@asynccontextmanager
async def console(env: Mapping[str, str], folder: Path, kernel: str = KERNEL) -> AsyncIterator[Console]:
    """A console whose first prompt has come."""
    command = ["-m", "jupyter", "console", "--simple-prompt", "--kernel", kernel]
    options: dict[str, Any] = {"cwd": str(folder), "encoding": "utf-8", "dimensions": (40, 160)}
    process = pexpect.spawn(sys.executable, command, env=dict(env), **options)
    try:
        opened = Console(process)
        await opened.until("In [1]:")
        yield opened
    finally:
        process.sendeof()
        process.sendline("y")  # Do you really want to exit?
        with suppress(pexpect.TIMEOUT):  # a cell may still be running after a failed test
            await process.expect(pexpect.EOF, timeout=15, async_=True)
        process.close(force=True)


async def test_e6_jupyter_console_shows_steps_and_answer(provider: FakeProvider, tmp_path: Path) -> None:
    async with console(environment(provider, tmp_path), tmp_path) as terminal:
        for task in ("py: print('one'); final_answer(6 * 7)", "py: print('two'); final_answer(6 * 8)"):
            shown = await terminal.run(task)
            code = task.removeprefix("py: ")
            assert f"Step 1 (0.0 s)\n  As told.\n  | {code}\n  {code[7:10]}\ndone · 1 step" in shown
            assert shown.count("As told.") == 1
        assert "Out[2]: 48" in shown


async def test_e6_jupyter_console_asks_yes_no_or_edit(provider: FakeProvider, tmp_path: Path) -> None:
    async with console(environment(provider, tmp_path, CELLWRIGHT_APPROVE="ask"), tmp_path) as terminal:
        terminal.type("py: final_answer(6 * 7)")
        before = await terminal.until("Run it? [y]es, [n]o, [e]dit")
        assert "The agent wants to run this in step 1:\n  | final_answer(6 * 7)" in before, "first what, then whether"
        terminal.type("y")
        assert "Out[1]: 42" in await terminal.shown()
        terminal.type("py: open('made', 'w')")
        await terminal.until("Run it?")
        terminal.type("n")
        await terminal.until("A word to the model why (or Enter): ")
        terminal.type("never write")
        assert "Denied by person: the user said no: never write" in await terminal.until("Run it?")
        terminal.type("y")
        await terminal.shown()
        assert not files(tmp_path, "made")
        terminal.type("py: final_answer(1)")
        await terminal.until("Run it?")
        terminal.type("e")
        for line in ("x = 43", "final_answer(x)", "."):
            await terminal.until("... ")
            terminal.type(line)
        shown = await terminal.shown()
        assert "Edited by person" in shown
        assert "Out[3]: 43" in shown


async def test_e6_ctrl_c_in_jupyter_console_stops_the_run(provider: FakeProvider, tmp_path: Path) -> None:
    async with console(environment(provider, tmp_path), tmp_path) as terminal:
        await terminal.run("py: final_answer(1)")
        terminal.type("py: kept = 41; open('begun', 'w').close(); import time; time.sleep(600)")
        await made(tmp_path, "begun")
        begun = time.monotonic()
        terminal.interrupt()
        shown = await terminal.shown(10)
        assert time.monotonic() - begun < 3
        assert "stopped · Stopped by the user." in shown
        assert "the sandbox keeps its variables." in shown
        assert "Out[3]: 42" in await terminal.run("py: final_answer(kept + 1)")


def files(folder: Path, name: str) -> list[Path]:
    """What code made in its workspace, which is below `folder`."""
    return list(folder.rglob(name))


async def made(folder: Path, name: str, seconds: float = 60) -> None:
    """Wait until code has made a file."""
    async with asyncio.timeout(seconds):
        while not files(folder, name):
            await asyncio.sleep(0.05)


async def test_e6_percent_agent_in_jupyter_console_on_python(provider: FakeProvider, tmp_path: Path) -> None:
    async with console(environment(provider, tmp_path), tmp_path, "python3") as terminal:
        await terminal.run("%load_ext cellwright")
        shown = await terminal.run("get_ipython().run_cell_magic('agent', '', \"py: final_answer(6 * 7)\")")
        assert "| final_answer(6 * 7)" in shown
        assert "Out[2]: 42" in shown


# ---- nbconvert ------------------------------------------------------------------------------------------------------


async def test_e6_an_executed_notebook_as_markdown_has_every_step(provider: FakeProvider, tmp_path: Path) -> None:
    from nbconvert import MarkdownExporter

    notebook = notebook_of("py: print('doubled'); final_answer('the end')")
    await execute(notebook, tmp_path, environment(provider, tmp_path))
    text, _ = MarkdownExporter().from_notebook_node(notebook)  # type: ignore[no-untyped-call]
    assert "Step 1" in text
    assert "doubled" in text
    assert "the end" in text
