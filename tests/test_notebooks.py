"""The notebooks of notebooks/: clean as they are committed; the one on MCP servers runs again, with real servers."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from cellwright.journal import Journal

FOLDER = Path(__file__).parent.parent / "notebooks"
COMMITTED = sorted(path for path in FOLDER.glob("*.ipynb") if not path.stem.endswith("-audit"))
PLACE = re.compile(r"(?<![\w.:/<])/(?:home|root|work|tmp|Users|usr|opt|var|private|mnt)/|\b[A-Z]:\\\\")
"""The beginning of a path that only one machine has; not a closing tag or the path of an address."""


def texts(notebook: Any) -> Iterator[str]:
    """Everything that a person may read: sources, and what cells printed and showed."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", ()):
            shown = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
            yield json.dumps([output.get("text", ""), shown], ensure_ascii=False)
    yield json.dumps(notebook.metadata)


def results(notebook: Any) -> dict[str, str]:
    """Source of each cell that has a result -> the result as text."""
    return {
        cell.source: output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "execute_result"
    }


def test_a_machines_path_would_be_seen() -> None:
    for text in ("in /home/kari/x", '"/root/.cache"', "/tmp/a", "C:\\\\Users"):
        assert PLACE.search(text)
    for text in ("</tmp/x>", "https://a.org/home/x", "and/or", "notebooks/tmp/x"):
        assert not PLACE.search(text)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_notebook_is_whole_and_names_no_machine(path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    for text in texts(notebook):
        assert not (found := PLACE.search(text)), text[max(0, found.start() - 40) : found.end() + 60]
        assert str(Path.home()) not in text


@pytest.mark.model
@pytest.mark.timeout(900)
async def test_two_real_mcp_servers_are_used_by_the_embedded_models_agent_in_a_notebook(tmp_path: Path) -> None:
    notebook: Any = nbformat.read(FOLDER / "mcp.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    committed = results(notebook)
    await execute(notebook, tmp_path)
    again = results(notebook)
    for found in (committed, again):
        listed = next(text for source, text in found.items() if source == "%agent tools")
        assert "execute_query(sql: str) -> str" in listed
        assert "convert_time(source_timezone: str, time: str, target_timezone: str) -> dict" in listed
        [count, began, local] = [text for source, text in found.items() if re.search(r"^Use|^%%agent", source)]
        assert re.search(r"\b4\b", count)
        assert "2011-03-11 05:46:00" in began
        assert "14:46" in local
    async with Journal(tmp_path / "journal.sqlite") as journal:
        runs = [await journal.run(one.id) for one in await journal.runs()]
    called = {
        call.name for run in runs for step in run.steps if run.started and run.started.author == "agent"
        for call in step.calls if call.error is None
    }  # fmt: skip
    assert {"execute_query", "convert_time"} <= called
    assert [run.status for run in runs] == ["success"] * len(runs)


async def execute(notebook: Any, folder: Path) -> None:
    """Run the cells on the Cellwright kernel, with a journal of their own."""
    manager = AsyncKernelManager()
    argv = [sys.executable, "-m", "cellwright_kernel", "-f", "{connection_file}"]
    spec = KernelSpec(argv=argv, interrupt_mode="message", display_name="Cellwright", language="markdown")
    manager._kernel_spec = spec
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, km=manager, timeout=600, store_widget_state=False, resources=resources)
    env = {**os.environ, "CELLWRIGHT_JOURNAL": str(folder / "journal.sqlite")}
    await client.async_execute(env=env, cleanup_kc=True)
